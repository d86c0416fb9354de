/** The objects of a policy set as they are after shaping, before linking: plain data, nulls dropped, defaults
 *  not yet filled. `place` says where each was written. */
import type { Place } from './fault.ts';

/** A Cloudflare gateway list. */
export interface ListObject {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly items: readonly { readonly value: string }[];
  readonly place: Place;
}

export interface ServiceTokenObject {
  readonly id: string;
  readonly name: string;
  readonly client_id: string;
  /** 64 hex digits. */
  readonly client_secret_sha256: string;
  readonly previous_client_secret_sha256?: string | undefined;
  /** RFC 3339. */
  readonly previous_client_secret_expires_at?: string | undefined;
  readonly client_secret_version?: number | undefined;
  readonly enabled?: boolean | undefined;
  readonly expires_at?: string | undefined;
  readonly duration?: string | undefined;
  readonly place: Place;
}

/** An identity provider of the settings. `id` lower case. */
export interface ProviderObject {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  /** E-mail domains whose users have this as their domain-based provider; A-labels, lower case. */
  readonly domains: readonly string[];
  readonly place: Place;
}

/** A rule as written: its type's word and its value, already of its type's shape. */
export interface RuleObject {
  readonly word: string;
  readonly value: unknown;
  readonly place: Place;
}
