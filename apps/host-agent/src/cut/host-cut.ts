import type { Fabric } from '@virtcft/fabric';
import type { Vm, VmCapture } from '@virtcft/hypervisor';
import { limits } from '../limits.js';

export interface VmPause { readonly vm: string; readonly pause_ms: number; readonly parts_ms: Record<string, number> }

/** What one host adds to a cut: its VMs captured together, before encoding. */
export interface HostCut {
  readonly epoch: number;
  readonly captures: readonly VmCapture[];
  readonly pauses: readonly VmPause[];
  readonly verified: { readonly checks: number; readonly differing: number };
}

/** Not every VM was stopped in time, captured and continued; those that can run on, the epoch covers nothing here. */
export class CutFailed extends Error {}

/**
 * The cut on one host (R4): hold forwarding, stop all VMs, drain and flip the colour, capture all, continue all, release.
 * `verify`: compare every guest in full while it stands still (I5). `stop_budget_ms`: the driver's.
 */
export async function cutHost(fabric: Fabric, vms: readonly Vm[], epoch: number, verify: boolean, stop_budget_ms: number): Promise<HostCut> {
  await stopHost(fabric, vms, epoch, stop_budget_ms);
  return captureHost(fabric, vms, epoch, verify);
}

/** First half: forwarding is held, all VMs stand still and all they sent was taken. Throws CutFailed when one did not stop in time; then all run on and `epoch` is closed here. */
export async function stopHost(fabric: Fabric, vms: readonly Vm[], epoch: number, stop_budget_ms: number): Promise<void> {
  await fabric.hold();
  const taken = takenOf(fabric);
  try {
    await withinBudget(Promise.all(vms.map((vm) => vm.stop())).then(() => quiesce(fabric, vms, taken)), stop_budget_ms);
  } catch (error) {
    await continueHost(fabric, vms, epoch);
    throw new CutFailed(error instanceof Error ? error.message : String(error));
  }
}

/** Nothing is captured: all VMs that can run on, `epoch` is closed here, what was held goes on. */
export async function continueHost(fabric: Fabric, vms: readonly Vm[], epoch: number): Promise<void> {
  try {
    await Promise.allSettled(vms.map((vm) => vm.resume()));
    await fabric.flip(epoch);
  } finally {
    await fabric.release();
  }
}

/** Second half: flip, capture all, continue all, release. */
export async function captureHost(fabric: Fabric, vms: readonly Vm[], epoch: number, verify: boolean): Promise<HostCut> {
  try {
    await fabric.flip(epoch);
    const captured = await Promise.allSettled(vms.map((vm) => vm.capture(epoch)));
    const compared = verify ? await Promise.allSettled(vms.map((vm) => vm.verify(epoch))) : [];
    // Whatever failed, all that can go on do.
    const resumed = await Promise.allSettled(vms.map(async (vm) => ({ vm: vm.spec.name, ...await vm.resume() })));
    const [captures, differing, ran] = [allOf(captured), allOf(compared), allOf(resumed)];
    return {
      epoch, captures,
      // A verified cut stands still for the compare: its pause says nothing of an ordinary one.
      pauses: verify ? [] : ran.map(({ vm, pause_ms, parts }) => ({ vm, pause_ms, parts_ms: named(parts) })),
      verified: { checks: differing.length, differing: differing.reduce((sum, pages) => sum + pages, 0) },
    };
  } finally {
    await fabric.release();
  }
}

/**
 * A frame that found its port full is sent by the hypervisor once there is room, after the stop, and its completion written into the guest's memory: a
 * capture meanwhile would hold memory of one moment and devices of another. Only a port that gave up as many frames as fill one can have been full.
 */
async function quiesce(fabric: Fabric, vms: readonly Vm[], atHold: ReadonlyMap<string, number>): Promise<void> {
  let before = atHold;
  for (let round = 0; round < limits.quiesce_rounds; round += 1) {
    await fabric.drain();
    const taken = takenOf(fabric);
    if ([...taken].every(([nic, frames]) => frames - (before.get(nic) ?? 0) < limits.full_port_frames)) return;
    before = taken;
    await Promise.all(vms.map((vm) => vm.settle()));
  }
  throw new Error(`stopped VMs still sent after ${limits.quiesce_rounds} rounds`);
}

/** Frames that each port has taken from its guest so far. */
const takenOf = (fabric: Fabric): ReadonlyMap<string, number> => new Map(fabric.stats().ports.map(({ nic, rxFrames }) => [nic, rxFrames]));

/** One VM whose process died takes only the epoch with it: its death is reported by itself (R7). */
function allOf<T>(settled: readonly PromiseSettledResult<T>[]): T[] {
  return settled.map((each) => {
    if (each.status === 'rejected') throw new CutFailed(String(each.reason));
    return each.value;
  });
}

function named(parts: { stop_ms: number; scan_ms: number; copy_ms: number; state_ms: number; resume_ms: number }): Record<string, number> {
  return { stop: parts.stop_ms, scan: parts.scan_ms, copy: parts.copy_ms, state: parts.state_ms, resume: parts.resume_ms };
}

async function withinBudget(work: Promise<unknown>, stop_budget_ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the VMs did not stop within ${stop_budget_ms} ms`)), stop_budget_ms);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
