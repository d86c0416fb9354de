/** The certificate that the check port shows, over the life of the process. One that has ended is not taken up in place
 *  of one that has not; while the one that is shown has ended, whoever verifies it cannot ask, so nobody shall be sent
 *  here. */
import { isDeepStrictEqual } from 'node:util';
import type { CheckServer, TlsMaterial } from './envoy/server.ts';
import { expiriesOf } from './facts/expiries.ts';
import type { Logger } from './log.ts';

export interface CheckTls {
  /** What a new revision has; undefined, or the same as before: nothing changes. */
  offer(material: TlsMaterial | undefined): void;
  hasEnded(): boolean;
}

/** `first`: what the server was started with; undefined: clear text, for good. */
export function createCheckTls(
  server: Pick<CheckServer, 'replaceTls'>,
  first: TlsMaterial | undefined,
  logger: Pick<Logger, 'info' | 'error'>,
  nowMs: () => number,
): CheckTls {
  let shown = first;
  let endMs = endOf(first);
  return {
    offer(material) {
      if (!material || isDeepStrictEqual(material, shown)) return;
      const offeredEndMs = endOf(material);
      if (offeredEndMs <= nowMs() && nowMs() < endMs) {
        logger.error('the check port keeps its TLS material: the new certificate has ended', {
          at: new Date(offeredEndMs).toISOString(),
          mend: 'put a certificate in place that is valid; it is taken up without a restart',
        });
        return;
      }
      try {
        server.replaceTls(material);
        shown = material;
        endMs = offeredEndMs;
        logger.info('the check port has new TLS material');
      } catch (error) {
        logger.error('the check port keeps its TLS material', { error });
      }
    },
    hasEnded: () => endMs <= nowMs(),
  };
}

/** Of the certificate or one of those sent along with it, whichever ends first, in milliseconds since the epoch. */
function endOf(material: TlsMaterial | undefined): number {
  const ends = expiriesOf({
    serviceTokens: [],
    checkCertificate: material?.certificate,
    checkClientAuthority: undefined,
    trustedAuthorities: undefined,
  });
  return Math.min(...ends.map(({ epochSeconds }) => epochSeconds * 1000));
}
