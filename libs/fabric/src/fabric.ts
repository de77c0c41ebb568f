import { Fabric as NativeFabric } from '@virtcft/native';
import type { ChannelFrame, FabricEvent, FabricPort, FabricStats } from '@virtcft/native';

import { asFabricError } from './errors.js';
import { channelFrames, colourNumber, epochNumber, fabricOptions, generationWiring, ipOrNull, mac, port, timeout } from './validation.js';
import type { FabricSettings, FabricWiring } from './validation.js';

/** Channel state of one cut on this host; `down` are peers whose marker did not come in time. */
export interface ChannelState {
  readonly frames: ChannelFrame[];
  readonly down: number[];
}

/**
 * Opens a host's switch. `onEvents` gets what happened since the last call, in order.
 * Throws FabricError: `EINVAL` (which option), `EADDRINUSE`, `ENODEV`, `EPERM` (the edge needs CAP_NET_RAW).
 */
export function openFabric(settings: FabricSettings, onEvents: (events: readonly FabricEvent[]) => void): Fabric {
  const options = fabricOptions(settings);
  try {
    return new Fabric(new NativeFabric(options, onEvents));
  } catch (error) {
    throw asFabricError(error);
  }
}

/** A host's part of the cluster's network. Every order resolves once it took effect; errors are FabricError. */
export class Fabric implements Disposable {
  readonly #native: NativeFabric;

  /** Use openFabric. */
  constructor(native: NativeFabric) {
    this.#native = native;
  }

  /**
   * Binds a socket port's own path (an old socket there is replaced); the hypervisor may come and go at `peerPath`. Or opens the TAP, or
   * makes it (then it goes with the port), gives it the fabric's MTU, switches its offloads off and sets it up.
   */
  async addPort(added: FabricPort): Promise<void> {
    return this.#order(this.#native.addPort(port(added)));
  }

  async removePort(nic: string): Promise<void> {
    return this.#order(this.#native.removePort(mac('nic', nic)));
  }

  /**
   * New wiring. With another generation or incarnation than before everything of the old one is dropped (held output, except colours up
   * to `keepOutputUpTo`, which leave now; channel state; what ports had queued), the gate is closed, a hold ends, MTU and bound of held output
   * are as it says. With the same, only peers and placement change. Order in a recovery: VMs stopped -> setGeneration -> VMs loaded -> inject -> VMs run.
   */
  async setGeneration(generation: FabricWiring, keepOutputUpTo: number | null): Promise<void> {
    const keep = keepOutputUpTo === null ? null : colourNumber('keepOutputUpTo', keepOutputUpTo);
    return this.#order(this.#native.setGeneration(generationWiring(generation), keep));
  }

  /** First step of a cut: stop forwarding, keep reading. */
  async hold(): Promise<void> {
    return this.#order(this.#native.hold());
  }

  /** All VMs are stopped and stay so until the flip: what they sent leaves now, so that it is late nowhere (R4a). */
  async drain(): Promise<void> {
    return this.#order(this.#native.drain());
  }

  /** All VMs are stopped: what they sent is of colour `epoch`, logged where it was not taken, and the colour becomes `epoch + 1`. */
  async flip(epoch: number): Promise<void> {
    return this.#order(this.#native.flip(epochNumber(epoch)));
  }

  /** Last step of a cut, the VMs run again: deliver what was held, in order. */
  async release(): Promise<void> {
    return this.#order(this.#native.release());
  }

  /** Channel state of a cut that this host flipped (or will within the time). Once per cut: the answer closes its log. */
  async channelState(epoch: number, timeout_ms: number): Promise<ChannelState> {
    return this.#order(this.#native.channelState(epochNumber(epoch), timeout(timeout_ms)));
  }

  /** `epoch` is committed: output of its colour and older leaves, in order. `oldest_us`: how long the oldest frame had waited. */
  async releaseOutput(epoch: number): Promise<{ frames: number; bytes: number; oldest_us: number }> {
    return this.#order(this.#native.releaseOutput(epochNumber(epoch)));
  }

  /** The gate open (the cluster is not protected, by decision) or closed. Closed after openFabric and after every change of generation. */
  async setPassThrough(pass: boolean): Promise<void> {
    return this.#order(this.#native.setPassThrough(pass));
  }

  /** Channel state of the restored cut, delivered to local NICs before anything newer; waits for hypervisors that are not there yet. */
  async inject(frames: readonly ChannelFrame[]): Promise<void> {
    return this.#order(this.#native.inject(channelFrames(frames)));
  }

  /** Tells the outside and the peers that this NIC is here now. Repeat it: a switch may miss one. */
  async announce(nic: string, ip: string | null): Promise<void> {
    return this.#order(this.#native.announce(mac('nic', nic), ipOrNull(ip)));
  }

  stats(): FabricStats {
    try {
      return this.#native.stats();
    } catch (error) {
      throw asFabricError(error);
    }
  }

  /** Closes all sockets; what waits is rejected with `ECLOSED`. Held output is gone. Idempotent. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #order<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      throw asFabricError(error);
    }
  }
}
