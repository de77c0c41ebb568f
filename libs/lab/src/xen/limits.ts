/** dom0's memory: Xen's tools need some 200 MiB, and for each of some five small guests that are protected there its base and its layers. */
export const DOM0_MIB = 768;
/** A whole host: dom0, the hypervisor's own, and what is left for guests. */
export const HOST_MIB = 1536;
/** How long a host may take to boot; under emulation, on a machine that does other work too, it was seen to take a minute. */
export const BOOT_PATIENCE_MS = 300_000;
/** What a program in dom0 may say: a guest's memory is written into files there and not through here. */
export const MOST_OUTPUT_BYTES = 64 << 20;
/** The agent sends at most 64 KiB a frame; what announces more is not the agent. */
export const MOST_FRAME_BYTES = 1 << 16;
/** How long dom0 may take to let a device go that was unplugged. */
export const UNPLUG_PATIENCE_MS = 60_000;
/** Until dom0 knows a device that was plugged in. */
export const PLUG_PATIENCE_MS = 60_000;
/** Building a PVH guest takes two seconds under emulation, when nothing else runs. */
export const CREATE_PATIENCE_S = 120;
/** Guests boot in ten seconds there on a quiet machine; their host's other guests boot beside them. */
export const GUEST_PATIENCE_MS = 300_000;
/** How long a closed gate is watched: the guest's answer would have come in tens of milliseconds, emulated ones in some hundred. */
export const SILENCE_MS = 3_000;
/** For an answer whose every step waits for a commit, of a guest that is emulated twice over. */
export const COMMITTED_PATIENCE_MS = 120_000;
export const CUT_EVERY_MS = 100;
/** How often a long wait says that it goes on. */
export const PROGRESS_MS = 15_000;
/** Where dom0's agent listens. */
export const AGENT_PORT = 2222;
/** A guest's suspend takes a fifth of a second under emulation; while its host restores another guest, seconds. */
export const SUSPEND_MS = 60_000;
/** A cut is not given up for a suspend that takes long only because the emulated processor does something else. */
export const STOP_BUDGET_MS = 30_000;
