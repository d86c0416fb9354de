import type { Place } from './model/fault.ts';

/** A file that settings or policies name. */
export interface FileReference {
  /** Relative to the config folder, or absolute. */
  readonly name: string;
  /** Where it is named. */
  readonly place: Place;
  /** `public`: anybody may read it. `secret`: others should not be able to. `made`: a private key that Postern makes
   *  where it is missing, and so may be missing. */
  readonly use: 'public' | 'secret' | 'made';
}
