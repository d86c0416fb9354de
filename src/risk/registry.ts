/** The one table of risk factors, in the order in which Entrust's documentation lists their properties. */
import { dateTime } from './date-time.ts';
import type { FactorType } from './factor.ts';
import { ip } from './ip.ts';
import { location } from './location.ts';

export const factorTypes: readonly FactorType[] = [dateTime, ip, location];
