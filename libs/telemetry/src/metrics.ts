import { metrics as api, type Attributes, type Counter, type Histogram, type Meter } from '@opentelemetry/api';

/** Seconds, from 0.1 ms to half a minute: a pause is near 10 ms, a recovery near 2 s. */
const seconds = [0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];

// Instruments are made at first use: the API gives instruments that stay dead when they are asked for before the SDK has started.
const meter = (): Meter => api.getMeter('virtcft');

function histogram(name: string, description: string): (value: number, attributes?: Attributes) => void {
  let made: Histogram | undefined;
  return (value, attributes) => {
    made ??= meter().createHistogram(name, { description, unit: 's', advice: { explicitBucketBoundaries: seconds } });
    made.record(value, attributes);
  };
}

function counter(name: string, description: string, unit: string): (value: number, attributes?: Attributes) => void {
  let made: Counter | undefined;
  return (value, attributes) => {
    made ??= meter().createCounter(name, { description, unit });
    made.add(value, attributes);
  };
}

/** A gauge holds the last value of each label set until it is set again or cleared. */
function gauge(name: string, description: string, unit: string): (value: number | null, attributes?: Attributes) => void {
  const values = new Map<string, { value: number; attributes: Attributes }>();
  let made = false;
  return (value, attributes = {}) => {
    if (!made) {
      made = true;
      meter().createObservableGauge(name, { description, unit }).addCallback((result) => values.forEach((held) => result.observe(held.value, held.attributes)));
    }
    const key = JSON.stringify(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)));
    if (value === null) values.delete(key);
    else values.set(key, { value, attributes });
  };
}

/** Durations in seconds, sizes in bytes. Labels are few and bounded: cluster, host, vm, type; never an epoch. */
export const metrics = {
  vmPause: histogram('virtcft.vm.pause.duration', 'A VM stood still for its capture'),
  epochDuration: histogram('virtcft.epoch.duration', 'From one barrier to the next'),
  commitLatency: histogram('virtcft.commit.latency', 'Barrier to output released'),
  barrierSkew: histogram('virtcft.barrier.skew', 'Barrier decided to barrier received'),
  outputDelay: histogram('virtcft.output.delay', 'Age of the oldest frame of an epoch when it left'),
  recoveryDuration: histogram('virtcft.recovery.duration', 'Generation raised to recovery completed'),
  detectionDuration: histogram('virtcft.detection.duration', 'Last heartbeat of a lost host to its suspicion'),
  epochs: counter('virtcft.epochs', 'Epochs by outcome', '{epoch}'),
  dirtyPages: counter('virtcft.capture.pages', 'Pages captured', '{page}'),
  dirtyBytes: counter('virtcft.capture.size', 'Bytes of the pages captured', 'By'),
  storedBytes: counter('virtcft.store.size', 'Bytes put into the object store', 'By'),
  releasedFrames: counter('virtcft.output.frames', 'Frames released at the edge', '{frame}'),
  recoveries: counter('virtcft.recoveries', 'Recoveries by cause', '{recovery}'),
  suspicions: counter('virtcft.suspicions', 'Hosts suspected', '{host}'),
  eventsSkipped: counter('virtcft.events.skipped', 'Events that could not be decoded', '{event}'),
  followerLag: gauge('virtcft.follower.lag', 'Events stored and not yet handled by a follower', '{event}'),
  oldestUncommitted: gauge('virtcft.epoch.oldest_uncommitted.age', 'Age of the oldest epoch captured and not committed', 's'),
  heldOutput: gauge('virtcft.output.held', 'Output held for its commit', 'By'),
  protectedState: gauge('virtcft.cluster.protected', '1 while every VM is protected with a spare host, 0 otherwise', '1'),
  drifting: gauge('virtcft.vms.drifting', 'VMs whose time falls behind their host\'s, against their clock policy', '{vm}'),
  connected: gauge('virtcft.bus.connected', '1 while the bus is reachable', '1'),
} as const;
