import type { Heartbeat } from '@virtcft/events';
import { limits } from '../limits.js';

/** The name under which the watcher's own beats travel on the bus. */
export const watcherHost = 'failover';

/** One watched life of a host. Times are of the watcher's own clock, see `Detector`. */
interface Watched {
  readonly agent: string;
  readonly heard_ms: number;
  /** Whether it was heard since the last full window began. */
  readonly known: boolean;
  readonly gap_ms: number;
  readonly deviation_ms: number;
  readonly lag_ms: number;
  readonly peers: Heartbeat['peers'];
  readonly restorable: boolean;
}

/** A life to watch. `restorable`: what runs on it could be restored elsewhere; false before the first cut of its cluster, which its loss would end. */
export interface Life {
  readonly host: string;
  readonly agent: string;
  readonly restorable: boolean;
}

/**
 * An accrual detector whose clock runs only while its own beats come back from the bus, and by at most a small step from one to the next: neither an
 * outage of the bus nor a stop of the watcher lets silence grow (R21).
 */
export interface Detector {
  /** The watcher's clock. */
  readonly clock_ms: number;
  /** Real time of the last loopback beat; null while the bus is away. */
  readonly loopback_ms: number | null;
  readonly hosts: Readonly<Record<string, Watched>>;
}

export interface Suspicion {
  readonly host: string;
  readonly agent: string;
  readonly silent_ms: number;
  /** Peers that confirm the silence over the tunnel. */
  readonly witnesses: readonly string[];
}

export const newDetector: Detector = { clock_ms: 0, loopback_ms: null, hosts: {} };

const restart = (detector: Detector): Detector => ({
  ...detector,
  hosts: Object.fromEntries(Object.entries(detector.hosts).map(([host, watched]) => [host, { ...watched, heard_ms: detector.clock_ms, known: false }])),
});

/** The watcher's own beat came back at `now_ms`. The first one after an outage starts a full window for every host. */
export const loopback = (detector: Detector, now_ms: number): Detector => {
  if (detector.loopback_ms === null) return { ...restart(detector), loopback_ms: now_ms };
  const step_ms = Math.min(Math.max(0, now_ms - detector.loopback_ms), limits.watcher_step_ms);
  return { ...detector, clock_ms: detector.clock_ms + step_ms, loopback_ms: now_ms };
};

/** The connection to the bus ended: the clock stands. */
export const disconnected = (detector: Detector): Detector => ({ ...detector, loopback_ms: null });

/** Watch exactly these lives; a life watched anew gets a full window. */
export const watch = (detector: Detector, lives: readonly Life[]): Detector => ({
  ...detector,
  hosts: Object.fromEntries(lives.map(({ host, agent, restorable }) => {
    const known = detector.hosts[host];
    const fresh: Watched = { agent, heard_ms: detector.clock_ms, known: false, gap_ms: limits.heartbeat_ms, deviation_ms: 0, lag_ms: 0, peers: [], restorable };
    return [host, known?.agent === agent ? { ...known, restorable } : fresh];
  })),
});

/** A beat of a watched life; one of another life is nobody's. */
export const heard = (detector: Detector, beat: Heartbeat): Detector => {
  const known = detector.hosts[beat.host];
  if (known === undefined || known.agent !== beat.agent) return detector;
  const gap_ms = detector.clock_ms - known.heard_ms;
  const off_ms = Math.abs(gap_ms - known.gap_ms);
  const next: Watched = {
    ...known, heard_ms: detector.clock_ms, known: true, lag_ms: beat.lag_ms, peers: beat.peers,
    gap_ms: known.gap_ms + (gap_ms - known.gap_ms) / 16, deviation_ms: known.deviation_ms + (off_ms - known.deviation_ms) / 16,
  };
  return { ...detector, hosts: { ...detector.hosts, [beat.host]: next } };
};

/** What the peers say: how long ago each heard `host` over its tunnel, aged by the time since its own beat. Silent peers say nothing. */
const testimony = (detector: Detector, host: string): { peer: string; silent_ms: number }[] => Object.entries(detector.hosts)
  .filter(([peer, watched]) => peer !== host && watched.known && detector.clock_ms - watched.heard_ms < limits.witness_fresh_ms)
  .flatMap(([peer, watched]) => watched.peers
    .filter((seen) => seen.host === host)
    .map((seen) => ({ peer, silent_ms: seen.heard_ms + detector.clock_ms - watched.heard_ms })));

/** How long this host may be silent now: by its own rhythm, its own and the watcher's lag, and what its peers see. */
const patience_ms = (watched: Watched, seen: readonly { silent_ms: number }[], lag_ms: number): number => {
  if (!watched.restorable) return limits.silence_everyone_ms;
  if (!watched.known) return limits.silence_dead_ms;
  const contradicted = seen.some(({ silent_ms }) => silent_ms < limits.witness_fresh_ms);
  if (contradicted) return limits.silence_dead_ms;
  const confirmed = seen.length > 0;
  const base_ms = confirmed ? limits.silence_confirmed_ms : limits.silence_ms;
  const rhythm_ms = watched.gap_ms - limits.heartbeat_ms + limits.silence_deviations * watched.deviation_ms;
  return Math.min(limits.silence_dead_ms, base_ms + Math.max(0, rhythm_ms) + watched.lag_ms + lag_ms);
};

/** Lives that are over, as far as this watcher can tell. `lag_ms`: how late the watcher's own timers run. */
export const suspicions = (detector: Detector, lag_ms: number): Suspicion[] => {
  if (detector.loopback_ms === null) return [];
  const found = Object.entries(detector.hosts).flatMap(([host, watched]): (Suspicion & { dead: boolean })[] => {
    const silent_ms = detector.clock_ms - watched.heard_ms;
    const seen = testimony(detector, host);
    if (silent_ms < patience_ms(watched, seen, lag_ms)) return [];
    const witnesses = seen.filter((witness) => witness.silent_ms >= limits.witness_fresh_ms).map(({ peer }) => peer).sort();
    return [{ host, agent: watched.agent, silent_ms, witnesses, dead: silent_ms >= limits.silence_everyone_ms }];
  });
  // With every host silent nothing could be restored, and the fault is rather on the way to them.
  const everyone = found.length === Object.keys(detector.hosts).length;
  return found.filter(({ dead }) => !everyone || dead).map(({ host, agent, silent_ms, witnesses }) => ({ host, agent, silent_ms, witnesses }));
};
