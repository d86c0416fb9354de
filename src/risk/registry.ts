/** The one table of risk factors, in the order of the properties in Entrust's documentation of the ResourceRule. */
import { dateTime } from './date-time.ts';
import { deviceCertificate } from './device-certificate.ts';
import type { FactorType } from './factor.ts';
import { ip } from './ip.ts';
import { locationHistory } from './location-history.ts';
import { location } from './location.ts';
import { machine } from './machine.ts';
import { riskEngine } from './risk-engine.ts';
import { transaction } from './transaction.ts';
import { travelVelocity } from './travel-velocity.ts';

export const factorTypes: readonly FactorType[] = [
  dateTime,
  ip,
  location,
  locationHistory,
  travelVelocity,
  machine,
  deviceCertificate,
  transaction,
  riskEngine,
];

/** The factor type of a name such as `ip` or `transaction`. */
export function factorType(name: string): FactorType | undefined {
  return BY_NAME.get(name);
}

const BY_NAME: ReadonlyMap<string, FactorType> = new Map(factorTypes.map((type) => [type.name, type]));
