import type { EvaluationContext, Need } from '../model/context.ts';
import type { Place, Report } from '../model/fault.ts';
import type { ListObject } from '../model/objects.ts';
import type { Shape } from '../shared/shape.ts';

/** What a factor says of one request: UNKNOWN where its fact could not be had. */
export type FactorVerdict = 'RISK' | 'NO_RISK' | 'UNKNOWN';

export type FactorJudge = (context: EvaluationContext) => FactorVerdict;

/** What every context but kba carries besides its own fields. */
export interface FactorCommon {
  /** 0–100. */
  readonly riskPoint: number;
  readonly denyAccess?: boolean | undefined;
  /** Ours: how UNKNOWN counts; absent: the factor's own default. */
  readonly onUnknown?: 'RISK' | 'NO_RISK' | 'UNAVAILABLE' | undefined;
}

/** One of the risk factors of Entrust's resource rules. */
export interface FactorType<Context extends FactorCommon = FactorCommon> {
  /** The name in log, metrics and explain: `ip`, `dateTime`, `transaction` … */
  readonly name: string;
  /** The property of a ResourceRule: `ipContext`; where it is a list, each entry is a factor of its own. */
  readonly property: string;
  readonly isList: boolean;
  readonly description: string;
  readonly shape: Shape<Context>;
  needs(context: Context, scope: FactorScope): readonly Need[];
  /** Load time: references, and what only the whole set can tell. */
  link?(context: Context, place: Place, scope: FactorScope, report: Report): void;
  compile(context: Context, scope: FactorScope): FactorJudge;
  /** How UNKNOWN counts where `onUnknown` is absent. */
  unknownCounts(context: Context): 'RISK' | 'NO_RISK';
  /** For `explain`: the fact that the factor saw, in a few words, never a secret. */
  seen(context: EvaluationContext, factor: Context): string;
}

/** The part of the settings and of the set that factors may ask for, at load. */
export interface FactorScope {
  list(id: string): ListObject | undefined;
  /** By id or name, of `transaction_rules`. */
  transactionRule(idOrName: string): TransactionRule | undefined;
  /** By id or name, of the rules of `risk_engines`, with the engine they belong to. */
  engineRule(idOrName: string): { readonly engine: RiskEngine; readonly rule: EngineRule } | undefined;
  /** Details the rule's application declares, with their usage. */
  readonly transactionDetails: ReadonlyMap<string, { readonly usage: readonly ('RBA' | 'TVS')[] }>;
  readonly settings: RiskSettings;
  /** Some source tells whether an address is anonymous. */
  readonly anonymousSource: boolean;
  /** Some source tells where on earth an address is. */
  readonly coordinatesSource: boolean;
  nearest(kind: 'list' | 'transaction_rule' | 'engine_rule', text: string): string | undefined;
}

export interface RiskSettings {
  readonly locations_max: number;
  readonly location_lifetime_hours: number;
  readonly location_trust_threshold: number;
  readonly location_check_ip: boolean;
  readonly travel_velocity_max_kmh: number;
  readonly travel_distance_min_km: number;
  readonly score: 'sum' | 'percent';
  readonly expected_locations: readonly {
    readonly country: string;
    readonly city?: string | undefined;
    readonly isp?: string | undefined;
    readonly emails?: readonly string[] | undefined;
  }[];
  readonly machine: {
    readonly points: { readonly browser: number; readonly platform: number; readonly language: number };
  };
}

export interface TransactionRule {
  readonly id: string;
  readonly name: string;
  readonly item: string;
  readonly type: 'String' | 'Numeric';
  readonly operator: string;
  /** Text; a list of texts for IN. Numbers as their decimal text. */
  readonly value: string | readonly string[];
  readonly required: boolean;
  readonly default: string | undefined;
}

export interface RiskEngine {
  readonly id: string;
  readonly name: string;
  readonly enabled: boolean;
}

export interface EngineRule {
  readonly id: string;
  readonly name: string;
  readonly item: 'Risk' | 'serviceStatus';
  readonly operator: string;
  readonly value: string | number | readonly (string | number)[];
}
