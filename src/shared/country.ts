import { quoted, readText } from './shape.ts';
import type { Finding, Shape } from './shape.ts';

/** The country of an address that no source knows. Source: Cloudflare's `CF-IPCountry`. */
export const NO_COUNTRY = 'XX';

/** The "country" of a Tor exit. Source: Cloudflare's `CF-IPCountry`. */
export const TOR = 'T1';

/** ISO 3166-1 alpha-2, the officially assigned codes. */
const ASSIGNED =
  'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ ' +
  'CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO ' +
  'FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE ' +
  'JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO ' +
  'MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW ' +
  'PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM ' +
  'TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW';

/** XK (Kosovo) is no ISO code, but every location database uses it. */
const COUNTRIES: ReadonlySet<string> = new Set([...ASSIGNED.split(' '), 'XK']);

/** Codes that people write for others. */
const MEANT: ReadonlyMap<string, string> = new Map([
  ['UK', 'GB'],
  ['EL', 'GR'],
  ['USA', 'US'],
  ['GBR', 'GB'],
  ['CAN', 'CA'],
  ['DEU', 'DE'],
  ['FRA', 'FR'],
]);

/** Whether it is an upper-case ISO 3166-1 alpha-2 code or `XK`: a real country, not `XX` or `T1`. */
export function isCountry(code: string): boolean {
  return COUNTRIES.has(code);
}

/** A country code in upper case, `XX` and `T1` included; undefined where the text, of any case, is none. */
export function normalCountry(written: string): string | undefined {
  const code = written.toUpperCase();
  return COUNTRIES.has(code) || code === NO_COUNTRY || code === TOR ? code : undefined;
}

/** The shape of a country code in a policy file; upper case. `XX` (no data) and `T1` (Tor) count as codes. */
export function countryText(): Shape<string> {
  return readText((written) => {
    const code = normalCountry(written);
    return code === undefined ? countryFinding(written) : { value: code };
  });
}

/** What is wrong with a text that is no country code. */
export function countryFinding(written: string): Finding {
  const meant = MEANT.get(written.toUpperCase());
  return {
    code: 'country_unknown',
    text: `expected an ISO 3166-1 alpha-2 country code, XK, XX or T1, found ${quoted(written)}`,
    mend: meant ? `did you mean ${quoted(meant)}?` : 'write a two-letter code such as "CA"',
  };
}
