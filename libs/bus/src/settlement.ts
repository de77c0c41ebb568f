/** What became of one delivery to a durable consumer. */
export type Outcome = 'handled' | 'failed' | 'undecodable';

export type Settlement =
  | { readonly kind: 'ack' }
  /** Deliver it again after the delay. */
  | { readonly kind: 'nak'; readonly delay_ms: number }
  /** Never deliver it again. */
  | { readonly kind: 'term'; readonly reason: string };

export interface SettlementRules { readonly first_ms: number; readonly most_ms: number; readonly deliveries: number }

/** 100 ms doubling to 30 s, about ten minutes in all: a service that is away that long needs a person. */
export const settlementRules: SettlementRules = { first_ms: 100, most_ms: 30_000, deliveries: 25 };

/** `delivery` counts from 1. An event that cannot be read never will be; one whose handler fails is tried again, later each time, not for ever. */
export function settle(outcome: Outcome, delivery: number, rules: SettlementRules = settlementRules): Settlement {
  if (outcome === 'handled') return { kind: 'ack' };
  if (outcome === 'undecodable') return { kind: 'term', reason: 'undecodable' };
  if (delivery >= rules.deliveries) return { kind: 'term', reason: `failed ${delivery} times` };
  return { kind: 'nak', delay_ms: Math.min(rules.first_ms * 2 ** Math.min(delivery - 1, 30), rules.most_ms) };
}
