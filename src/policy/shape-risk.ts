/** Transaction rules and external risk engines. Names are Entrust's where its public pages have them. */
import { at, fault } from '../model/fault.ts';
import type { Place, Report } from '../model/fault.ts';
import type { EngineRule } from '../risk/factor.ts';
import {
  MAX_NAME,
  also,
  exactObject,
  flag,
  id,
  integer,
  listOf,
  listed,
  quoted,
  text,
  word,
  z,
} from '../shared/shape.ts';
import type { RiskEngineObject, TransactionRuleObject } from './objects.ts';
import type { Finding } from '../shared/shape.ts';
import { asData, asList, shapedParts, urlText } from './shape-parts.ts';

const NUMERIC = [
  'EQUALS',
  'NOT_EQUALS',
  'LESS_THAN',
  'LESS_THAN_OR_EQUAL',
  'GREATER_THAN',
  'GREATER_THAN_OR_EQUAL',
  'IN',
] as const;
const STRING = ['EQUALS', 'NOT_EQUALS', 'CONTAINS', 'STARTS_WITH', 'ENDS_WITH', 'IN'] as const;
const STATUS = ['EQUALS', 'NOT_EQUALS'] as const;
const STATUSES = ['SUCCESS', 'FAILURE'] as const;
const OPERATORS = [...NUMERIC, 'CONTAINS', 'STARTS_WITH', 'ENDS_WITH'] as const;

const scalar = z.union([z.string(), z.number(), z.boolean()]);

/** A condition on one detail of a transaction. Operators beyond EQUALS are Postern's. */
export const transactionRuleShape = exactObject({
  id: id().describe('UUID of the rule.'),
  name: text(MAX_NAME).describe('Unique; transaction contexts may name the rule by it.'),
  item: text(MAX_NAME).describe('The detail, as in the transaction map of the application.'),
  type: word(['String', 'Numeric']).describe('Numeric: whole numbers of any size.'),
  operator: word(OPERATORS).describe('How detail and value are compared.'),
  value: z.union([scalar, listOf(scalar)]).describe('What with; a list with IN. Long numbers as text.'),
  required: flag().describe('Absent, the detail triggers the rule. Default false.').optional(),
  default: scalar.describe('What an absent detail counts as, where it is not required; else "" or 0.').optional(),
});

const engineRuleShape = exactObject({
  id: id().describe('UUID of the rule.'),
  name: text(MAX_NAME).describe('Unique; risk engine contexts may name the rule by it.'),
  item: word(['Risk', 'serviceStatus']).describe("The engine's score, or whether it answered."),
  operator: word(OPERATORS).describe('How item and value are compared.'),
  value: z.union([scalar, listOf(scalar)]).describe('What with: a number; SUCCESS or FAILURE with serviceStatus.'),
});

/** An external risk engine. Source: Entrust's Generic API; the keys are Postern's. */
export const riskEngineShape = exactObject({
  id: id().describe('UUID of the engine.'),
  name: text(MAX_NAME).describe('Unique name of the engine.'),
  enabled: flag().describe('A disabled engine triggers nothing. Default true.').optional(),
  url: also(urlText(), baseFindings).describe('Base URL; /v1/authenticate and /v1/riskscore are added.'),
  company_id: text().describe('companyId of both calls.'),
  risk_provider: text().describe('riskProvider of both calls.'),
  identifier: text().describe('identifier of the first call.'),
  password_file: text().describe('File with the password, relative to the config folder.').optional(),
  token_seconds: integer(1, 86_400).describe('How long the token of the first call is used. Default 300.').optional(),
  fail_on_user_mismatch: flag().describe('An answer about another user triggers every rule. Default false.').optional(),
  timeout_ms: integer(1, 60_000).describe('Both calls together. Default 500.').optional(),
  cache_seconds: integer(0, 86_400).describe('How long an answer is used again. Default 20.').optional(),
  rules: z.array(z.unknown()).describe('Conditions on the answer.').optional(),
});

export const ENGINE_RULE = engineRuleShape;

export function shapeTransactionRule(raw: unknown, place: Place, report: Report): TransactionRuleObject | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  const parts = shapedParts(transactionRuleShape, data, place, report);
  const type = parts.type ?? 'String';
  const operator = parts.operator ?? 'EQUALS';
  const isNumeric = type === 'Numeric';
  const fits =
    parts.type === undefined ||
    parts.operator === undefined ||
    operatorFits(operator, isNumeric ? NUMERIC : STRING, type, at(place, 'operator'), report);
  const read = (value: unknown, where: Place): string | undefined =>
    isNumeric ? wholeNumber(value, where, report) : plainText(value, where, report);
  const valuePlace = at(place, 'value');
  const value =
    parts.value === undefined || !fits
      ? undefined
      : readValue(parts.value, operator === 'IN', valuePlace, read, report);
  if (value === '' && operator !== 'EQUALS' && operator !== 'NOT_EQUALS') {
    report(
      fault(
        valuePlace,
        'value_empty',
        `expected text to look for, found none, which every text ${operator === 'CONTAINS' ? 'contains' : 'begins and ends with'}`,
        'write what to look for',
      ),
    );
  }
  return {
    id: parts.id ?? '',
    name: parts.name ?? '',
    item: parts.item ?? '',
    type,
    operator,
    value: value ?? '',
    required: parts.required ?? false,
    default: parts.default === undefined ? undefined : read(parts.default, at(place, 'default')),
    place,
  };
}

export function shapeRiskEngine(raw: unknown, place: Place, report: Report): RiskEngineObject | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  const parts = shapedParts(riskEngineShape, data, place, report);
  const rules = asList(parts.rules, at(place, 'rules'), report).flatMap((item, index) => {
    const rule = readEngineRule(item, at(place, 'rules', index), report);
    return rule ? [rule] : [];
  });
  return {
    id: parts.id ?? '',
    name: parts.name ?? '',
    enabled: parts.enabled ?? true,
    url: parts.url ?? '',
    companyId: parts.company_id ?? '',
    riskProvider: parts.risk_provider ?? '',
    identifier: parts.identifier ?? '',
    passwordFile: parts.password_file,
    tokenSeconds: parts.token_seconds ?? 300,
    failOnUserMismatch: parts.fail_on_user_mismatch ?? false,
    timeoutMs: parts.timeout_ms ?? 500,
    cacheSeconds: parts.cache_seconds ?? 20,
    rules,
    place,
  };
}

/** Paths are added to it. */
function baseFindings(url: string): readonly Finding[] {
  if (!url.includes('?')) return [];
  return [
    { code: 'url_invalid', text: 'expected a URL without a query, found one', mend: 'remove it from the "?" on' },
  ];
}

function readEngineRule(
  raw: unknown,
  place: Place,
  report: Report,
): (EngineRule & { readonly place: Place }) | undefined {
  const data = asData(raw, place, report);
  if (!data) return undefined;
  const parts = shapedParts(engineRuleShape, data, place, report);
  const item = parts.item ?? 'Risk';
  const operator = parts.operator ?? 'EQUALS';
  const known = parts.item !== undefined && parts.operator !== undefined;
  const fits = known && operatorFits(operator, item === 'Risk' ? NUMERIC : STATUS, item, at(place, 'operator'), report);
  const valuePlace = at(place, 'value');
  const value =
    parts.value === undefined || !fits
      ? undefined
      : item === 'Risk'
        ? readValue(parts.value, operator === 'IN', valuePlace, (one, where) => realNumber(one, where, report), report)
        : readValue(parts.value, false, valuePlace, (one, where) => status(one, where, report), report);
  return { id: parts.id ?? '', name: parts.name ?? '', item, operator, value: value ?? '', place };
}

function operatorFits(
  operator: string,
  fitting: readonly string[],
  what: string,
  place: Place,
  report: Report,
): boolean {
  if (fitting.includes(operator)) return true;
  report(
    fault(place, 'operator_invalid', `expected an operator for ${what}, found ${operator}`, `use ${listed(fitting)}`),
  );
  return false;
}

/** One value, or with IN a list of them; undefined where any is wrong. */
function readValue<T extends string | number>(
  written: unknown,
  isList: boolean,
  place: Place,
  read: (value: unknown, place: Place) => T | undefined,
  report: Report,
): T | readonly T[] | undefined {
  if (Array.isArray(written) !== isList) {
    report(
      fault(
        place,
        'type_wrong',
        isList ? 'expected a list with IN, found one value' : 'expected one value, found a list',
        isList ? 'write a list' : 'write one value, or use the operator IN',
      ),
    );
    return undefined;
  }
  if (!Array.isArray(written)) return read(written, place);
  if (written.length === 0) {
    report(fault(place, 'value_empty', 'expected at least one value, found none', 'add a value'));
    return undefined;
  }
  const values = written.map((one, index) => read(one, at(place, index)));
  return values.every((one) => one !== undefined) ? values : undefined;
}

function wholeNumber(value: unknown, place: Place, report: Report): string | undefined {
  const digits = typeof value === 'number' ? (Number.isSafeInteger(value) ? String(value) : '') : value;
  if (typeof digits === 'string' && /^-?[0-9]{1,40}$/.test(digits)) return digits;
  report(
    fault(
      place,
      'value_invalid',
      'expected a whole number of at most 40 digits, found something else',
      'write digits; a number beyond 9007199254740991 in quotes',
    ),
  );
  return undefined;
}

function plainText(value: unknown, place: Place, report: Report): string | undefined {
  if (typeof value === 'string') return value;
  // A request says true and 7 as text too.
  if (typeof value === 'boolean' || Number.isSafeInteger(value)) return String(value);
  report(fault(place, 'value_invalid', 'expected text, found a number', 'put it in quotes'));
  return undefined;
}

function realNumber(value: unknown, place: Place, report: Report): number | undefined {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  report(fault(place, 'value_invalid', `expected a number, found ${shown(value)}`, 'write a number such as 65'));
  return undefined;
}

function status(value: unknown, place: Place, report: Report): string | undefined {
  const found = STATUSES.find((one) => one === value);
  if (found) return found;
  report(
    fault(place, 'value_invalid', `expected ${listed(STATUSES)}, found ${shown(value)}`, `use ${listed(STATUSES)}`),
  );
  return undefined;
}

function shown(value: unknown): string {
  return typeof value === 'string' ? quoted(value) : String(value);
}
