import { z } from 'zod';

/** A name a person gives: of a cluster, host or VM. Safe in subjects, object keys, paths and host names. */
export const Name = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/, 'use 1-40 of a-z, 0-9 and -, not at an end');
export const ClusterId = z.uuid();
/** One life of an agent process; a host that comes back has another. */
export const AgentId = z.uuid();
/** Random identity of a generation, 16 bytes hex, compared for equality (R16). */
export const Incarnation = z.string().regex(/^[0-9a-f]{32}$/);
export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);
export const Mac = z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/, 'write a MAC as six lower-case hex pairs with colons');
export const Generation = z.int().min(1).max(0xffff_ffff);
export const Epoch = z.int().min(1).max(Number.MAX_SAFE_INTEGER);
/**
 * How the hosts of a cluster cut together. coloured: each at once when the barrier comes. two-phase: each stands still and says so; all capture
 * when the last one stands.
 */
export const Barrier = z.enum(['coloured', 'two-phase']);
export type Barrier = z.infer<typeof Barrier>;
export const RunState = z.enum(['running', 'paused', 'off', 'panicked']);

/** Names a committed cut: the manifest's key and hash, and where it stands. */
export const CutRef = z.object({ key: z.string().max(400), hash: Sha256, generation: Generation, epoch: Epoch });
export type CutRef = z.infer<typeof CutRef>;

/** A cut that nothing may remove while the pin is there: for a restore, a drill, or a person. */
export const Pin = z.object({ name: Name, cut: CutRef, by: z.string().max(200) });
export type Pin = z.infer<typeof Pin>;

/** VM name -> host name. */
export const Placement = z.record(Name, Name);
export type Placement = z.infer<typeof Placement>;

export const Identity = z.object({
  driver: z.enum(['qemu', 'xen']), version: z.string().max(100), machine: z.string().max(60), accel: z.string().max(20), cpu: z.string().max(100),
});
