import { warning } from '../model/fault.ts';
import { exactObject } from '../shared/shape.ts';
import type { ShapeOutput } from '../shared/shape.ts';
import { contextKeys } from './context-keys.ts';
import type { FactorType } from './factor.ts';
import { distanceKm } from './haversine.ts';

const shape = exactObject(contextKeys);

/** Whether the user would have had to travel faster than is possible since the last recorded authentication. Nothing
 *  is rounded, and no accuracy radius is subtracted. Source: Entrust's TravelVelocityContext. */
export const travelVelocity: FactorType<ShapeOutput<typeof shape>> = {
  name: 'travelVelocity',
  property: 'travelVelocityContext',
  isList: false,
  description: 'At risk where the way from the place of the last authentication is too long for the time since.',
  shape,
  needs: () => [{ fact: 'history' }, { fact: 'location' }, { fact: 'identity' }],
  link(_, place, { coordinatesSource }, report) {
    if (coordinatesSource) return;
    report(
      warning(
        place,
        'coordinates_source_missing',
        'no source tells the coordinates of a request, so that this factor is never at risk',
        'set geo.city_database, or geo.headers.latitude and geo.headers.longitude',
      ),
    );
  },
  compile(_, { settings }) {
    const { travel_distance_min_km: minKm, travel_velocity_max_kmh: maxKmh } = settings;
    return ({ history, location, nowMs }) => {
      if (history.state !== 'known') return 'UNKNOWN';
      const { last } = history.record;
      if (!last) return 'NO_RISK';
      if (location?.latitude === undefined || location.longitude === undefined) return 'UNKNOWN';
      const km = distanceKm(last.latitude, last.longitude, location.latitude, location.longitude);
      if (Number.isNaN(km)) return 'UNKNOWN';
      if (km < minKm) return 'NO_RISK';
      const seconds = (nowMs - last.timeMs) / 1000;
      if (seconds <= 0) return 'RISK';
      return km / (seconds / 3600) > maxKmh ? 'RISK' : 'NO_RISK';
    };
  },
  unknownCounts: () => 'NO_RISK',
  seen({ history, location, nowMs }) {
    if (history.state !== 'known') return 'the record of the user could not be read';
    const { last } = history.record;
    if (!last) return 'no authentication recorded';
    if (location?.latitude === undefined || location.longitude === undefined) return 'coordinates unknown';
    const km = distanceKm(last.latitude, last.longitude, location.latitude, location.longitude);
    return `${km.toFixed(1)} km in ${Math.round((nowMs - last.timeMs) / 1000)} s`;
  },
};
