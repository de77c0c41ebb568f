/** What happens to what one host sends to another. */
export interface Weather {
  readonly delay_ms: number;
  /** Each datagram's delay is longer by up to this much: more than the distance between two datagrams reorders them. */
  readonly jitter_ms: number;
  readonly loss_percent: number;
  /** Nothing comes through. */
  readonly cut: boolean;
}

export const CALM: Weather = { delay_ms: 0, jitter_ms: 0, loss_percent: 0, cut: false };

/** How long this datagram is kept, in ms; null: it is lost. `chance` gives numbers from 0 to 1. */
export function fate(weather: Weather, chance: () => number): number | null {
  if (weather.cut || chance() * 100 < weather.loss_percent) return null;
  return weather.delay_ms + chance() * weather.jitter_ms;
}
