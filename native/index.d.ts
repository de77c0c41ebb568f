/**
 * The native side of VirtCFT, one declaration for all of it. Rules of the boundary:
 * TypeScript validates arguments, native does one thing per call; `null`, never `undefined`, crosses; work that may take more than
 * some microseconds runs off the event loop and returns a promise; native throws plain errors whose `code` names the reason.
 * Pages are 4096 bytes; a page number is the guest RAM file's offset / 4096.
 */

export type TrackerKind = 'pagemap-scan' | 'soft-dirty' | 'compare';

/** What the running kernel offers for dirty tracking; `best` is the first of PAGEMAP_SCAN, soft-dirty, full compare that works. */
export interface TrackerProbe {
  readonly pagemapScan: boolean;
  readonly softDirty: boolean;
  readonly lazyFill: boolean;
  readonly best: TrackerKind;
  /** Why a better one is missing, one line each. */
  readonly reasons: readonly string[];
}
export function probeTracker(): TrackerProbe;

export interface CaptureResult {
  readonly pages: number;
  readonly scan_us: number;
  readonly copy_us: number;
}
export interface EncodeResult {
  /** One page section (docs/formats/page-section.md). */
  readonly section: Buffer;
  readonly pages: number;
  readonly zero: number;
  readonly xor: number;
  readonly raw: number;
  /** Pages that other segments hold, and the names of these. */
  readonly referred: number;
  readonly sources: readonly string[];
  readonly encode_us: number;
}
export interface FillStats {
  readonly faults: number;
  readonly prefetched: number;
  readonly present: number;
  readonly total: number;
  readonly done: boolean;
}

/**
 * One VM's memory as its agent holds it (PROTOCOL.md R1): the guest's RAM file (mapped shared), a base image, immutable layers on
 * top of it, one per captured and not yet committed epoch, and one open layer that pre-copy fills.
 * Epochs given to calls are positive integers, rising.
 */
export class GuestMemory {
  /** Maps `ramPath` (a tmpfs file of exactly `bytes`). The base starts as all zero pages and complete. */
  constructor(options: { ramPath: string; bytes: number });
  /**
   * Arms dirty tracking in the QEMU process `pid` that maps the RAM file. `lazy`: the RAM file is empty and is to be filled on demand
   * from the base (call `beginFill` first, then `supply` pages). The userfaultfd stays open inside QEMU, so faults block for ever and
   * never read zero when this process dies.
   */
  attach(options: { pid: number; tracker: TrackerKind; lazy: boolean }): Promise<void>;
  /** Ends tracking of the current process (before it is killed, or after). The RAM file, base and layers stay. */
  detach(): Promise<void>;
  /** While the guest runs: scan and copy what is dirty into the open layer. */
  precopy(): Promise<CaptureResult>;
  /**
   * Before the first capture, while the guest runs (where the tracker is `soft-dirty`: while it is stopped): from here on `seed` copies the memory into
   * the base, piece by piece (R20). `epoch`: the base's, the parent of the first capture. Again: starts over, what the base holds stays.
   */
  beginSeed(): Promise<{ epoch: number }>;
  /**
   * While the guest runs: copies those of pages [first, first + count) that were written since they were copied last into the base, when they are at least `fewest`;
   * else they are left to a later call or the first capture. `content`: the piece as the base holds it now; null where fewer were written, or all of it is zero.
   */
  seed(options: { first: number; count: number; fewest: number }): Promise<{ pages: number; content: Buffer | null }>;
  /** While the guest is stopped: scan and copy into the open layer, which becomes the immutable layer `epoch`. */
  capture(epoch: number): Promise<CaptureResult>;
  /**
   * Encodes every page written in (parent, epoch] with its content as of `epoch`; XOR against the content as of `parent` where that
   * pays. `parent` null: a full section, all pages that are not zero, no XOR. `catalog`: pages that are in it are referred to, not held.
   */
  encode(options: { parent: number | null; epoch: number; catalog?: PageCatalog | null }): Promise<EncodeResult>;
  /** Folds all layers <= epoch into the base: `epoch` is committed. */
  fold(epoch: number): Promise<{ pages: number }>;
  /**
   * The guest is stopped (and still attached) or dead (detached: every page is compared). Makes the RAM file equal to the content as of
   * `epoch` (base plus layers <= epoch), drops later layers and the open one. Returns how many pages were rewritten.
   */
  rollback(epoch: number): Promise<{ pages: number; scanned: boolean }>;
  /** While stopped, straight after `capture(epoch)`: full compare of RAM with the content as of `epoch`; the number of pages that differ (I5). */
  verify(epoch: number): Promise<{ differing: number; first: number | null }>;
  /** SHA-256 over the content as of `epoch` (base plus layers), page by page in order. */
  digest(epoch: number): Promise<string>;
  /** The base becomes incomplete: no page is present until supplied. `epoch` is the restored cut's epoch, the parent of what follows. */
  beginFill(epoch: number): void;
  /** Puts a page section's pages (raw or zero kinds only) into the base and marks them present; the fill thread serves them to the guest. */
  supply(section: Buffer): Promise<{ pages: number }>;
  /** All pages not yet present are zero: the source has sent everything. */
  supplyRestAsZero(): Promise<{ pages: number }>;
  /** Called (batched, on the event loop) with page numbers a guest waits for that are not present yet. */
  onWanted(callback: ((pages: Uint32Array) => void) | null): void;
  fillStats(): FillStats;
  /** Bytes held in base and layers, pages of the open layer, number of layers. */
  stats(): { base_bytes: number; layer_bytes: number; layers: number; open_pages: number };
  /** Unmaps, closes, joins threads. Idempotent. */
  close(): void;
}

/** A folded image of one VM at one cut, in a file of its own (replica-store). */
export class ReplicaImage {
  constructor(options: { path: string; bytes: number });
  /** Validates the whole section first, then applies it (XOR against the present content). Nothing is changed when it is refused. */
  apply(section: Buffer): Promise<{ pages: number }>;
  /** Pages [first, first+count) as one page section of raw and zero kinds. */
  read(options: { first: number; count: number }): Promise<Buffer>;
  /** Page ranges that hold data (not holes, not zero) as [first, count] pairs, flattened. */
  extents(): Promise<Uint32Array>;
  digest(): Promise<string>;
  sync(): Promise<void>;
  close(): void;
}

/**
 * One disk of a VM as its agent holds it (PROTOCOL.md R1), served to the hypervisor over NBD on a unix socket: a base, immutable layers, one per
 * captured and not yet committed epoch, and one open layer that takes the guest's writes. Blocks are 4096 bytes, a block number is the offset /
 * 4096; guests may write smaller parts. Everything lies in files of `directory` that outlive this process: what was answered to the guest is
 * found again by `reopen` (R23a). Nothing is synced: durability beyond the host is the commit's.
 */
export class GuestDisk {
  /**
   * Makes the files in `directory` (which exists and holds no disk, else `EEXIST`). `image`: a private raw file of exactly `bytes`, on the same file
   * system, that becomes the base as it is (it is renamed; the caller uses it no more); null: the base is all zero. The base is of epoch 0.
   * `bytes` is a multiple of 4096.
   */
  constructor(options: { directory: string; bytes: number; image: string | null });
  /** Takes up what an earlier process left in `directory`. Throws `ENODISK` when there is none, `EBADDISK` when it does not verify. */
  static reopen(options: { directory: string }): GuestDisk;
  readonly bytes: number;
  /** Starts the server thread: NBD (fixed newstyle; FLUSH, FUA, TRIM, WRITE_ZEROES, structured replies where asked for) at `socket`, one export of any name. */
  serve(socket: string): void;
  /**
   * While the VM is stopped (its hypervisor has drained all requests): the open layer becomes the immutable layer `epoch`. Microseconds. `blocks`:
   * how many it holds; `busy`: requests that were not answered yet, which must be 0 for the cut to be consistent.
   */
  capture(epoch: number): Promise<{ blocks: number; busy: number; capture_us: number }>;
  /**
   * Encodes every block written in (parent, epoch] with its content as of `epoch`, as a page section (docs/formats/page-section.md) of raw and zero
   * kinds. `parent` null: a full section, all blocks that are not zero. Needs a complete base only for that.
   */
  encode(options: { parent: number | null; epoch: number }): Promise<EncodeResult>;
  /** Folds all layers <= epoch into the base: `epoch` is committed. */
  fold(epoch: number): Promise<{ blocks: number }>;
  /** Cuts all connections, then drops the open layer and layers > epoch; the next hypervisor finds the content as of `epoch`. */
  rollback(epoch: number): Promise<{ blocks: number }>;
  /** SHA-256 over the content as of `epoch`, block by block in order. */
  digest(epoch: number): Promise<string>;
  /** The base becomes incomplete: no block is present until supplied; reads of absent blocks wait. `epoch` is the restored cut's, the parent of what follows. */
  beginFill(epoch: number): void;
  /** Puts a section's blocks (raw or zero kinds only) into the base and marks them present. What the guest has written since wins: it lies in a layer. */
  supply(section: Buffer): Promise<{ pages: number }>;
  /** All blocks not yet present are zero: the source has sent everything. */
  supplyRestAsZero(): Promise<{ pages: number }>;
  /** Called (batched, on the event loop) with block numbers that a request waits for and that are not present yet. */
  onWanted(callback: ((blocks: Uint32Array) => void) | null): void;
  fillStats(): FillStats;
  stats(): { base_bytes: number; layer_bytes: number; layers: number; open_blocks: number; connections: number; reads: number; writes: number; flushes: number; read_bytes: number; written_bytes: number };
  /** Ends the server, cuts connections, joins threads, closes files; they stay. Idempotent. */
  close(): void;
}

/**
 * Pages that stored segments hold raw and that no codec shortens, by their content, so that later sections refer to them (docs/formats/page-section.md). Bounded:
 * at most 512 segments, and of pages 64 MiB; the oldest go first.
 */
export class PageCatalog {
  /** `section`: the page section of the segment of this name, 64 hexadecimal digits. Tells how many pages were worth it; a segment of none is not among the sources. */
  add(options: { segment: string; section: Buffer }): Promise<{ pages: number }>;
  /** The `count` segments that were added first are not referred to any more. */
  drop(count: number): void;
  clear(): void;
  /** Segments that may be referred to. */
  readonly sources: number;
  /** Idempotent. */
  close(): void;
}

/** Parses and checks a page section without applying it. `sources`: names of the segments that it refers to. Throws `EBADSECTION` with what is wrong. */
export function inspectSection(section: Buffer): { pages: number; zero: number; xor: number; raw: number; referred: number; maxPage: number; sources: string[] };

/**
 * The same section with the pages in it that it refers to. `sources`: the page sections of the segments that it names, in its order. Rejects with `EBADSECTION`
 * when one of all these is damaged, or does not hold a page raw that is referred to.
 */
export function resolveReferences(section: Buffer, sources: readonly Buffer[]): Promise<Buffer>;

/**
 * The content of a stored chunk (docs/formats/image.md): one zstd frame of what `hash` names. `bytes`: its length, null where that is not known. Throws `EBADCHUNK` with
 * what is wrong.
 */
export function expandChunk(options: { stored: Buffer; hash: string; bytes: number | null }): Promise<Buffer>;
/** The same into an open file at `position`, which is zero there: what is zero stays a hole. The file is open until the promise settles. */
export function writeChunk(options: { stored: Buffer; hash: string; bytes: number | null; fd: number; position: number }): Promise<void>;
/** SHA-256 in hex, off the event loop and without a copy. */
export function sha256(bytes: Buffer): Promise<string>;

export interface FabricOptions {
  /** Cluster id, 16 bytes hex. */
  readonly cluster: string;
  /** This host's number in the cluster (0..255), the tunnel header's source. */
  readonly host: number;
  /** The life of this host's agent, 16 bytes hex: peers hear the life that they were wired to, and no other. */
  readonly life: string;
  /** The hosts' shared secret, 32 bytes or more: tunnels are authenticated with keys derived from it. Not kept. */
  readonly secret: Buffer;
  /** UDP address the tunnel socket binds. */
  readonly tunnel: { readonly address: string; readonly port: number };
  /** The outside interface (AF_PACKET, root), or null for a fabric with no edge. */
  readonly edge: string | null;
  readonly mtu: number;
  /** Bound of held output (bytes): from half of it on guests are throttled, at it their ports are not read. Output is never dropped. */
  readonly heldOutputBytes: number;
  /** Output that has been held for so long counts as full too. */
  readonly heldOutputAge_ms: number;
  readonly portQueueFrames: number;
}
export interface FabricPeer {
  readonly host: number;
  /** The life of that host's agent that was admitted, 16 bytes hex. What another life of it says is dropped and counted. */
  readonly life: string;
  readonly address: string;
  readonly port: number;
}
/** A generation's wiring. Frames of any other generation or incarnation are counted and dropped. */
export interface FabricGeneration {
  readonly generation: number;
  /** 16 bytes hex, compared for equality. */
  readonly incarnation: string;
  /** The epoch that is running: frames sent now carry it. */
  readonly colour: number;
  readonly peers: readonly FabricPeer[];
  /** Every VM of the cluster: MAC and the host number it is placed on. Unicast goes there; broadcast to all. */
  readonly macs: readonly { readonly mac: string; readonly host: number }[];
  /** With another generation than before: the MTU and the bound of held output from now on. Null: as they were. */
  readonly mtu: number | null;
  readonly heldOutputBytes: number | null;
}
export interface ChannelFrame {
  /** MAC of the destination NIC (of this host). */
  readonly nic: string;
  readonly frame: Buffer;
}
/** A NIC's unix datagram sockets. */
export interface FabricSocketPort {
  readonly nic: string;
  /** Path the switch binds (the VM's `remote.path`). */
  readonly path: string;
  /** Path QEMU binds (the VM's `local.path`). */
  readonly peerPath: string;
}
/** A NIC behind a TAP interface, which the switch opens or makes (CAP_NET_ADMIN). */
export interface FabricTapPort {
  readonly nic: string;
  readonly tap: string;
}
export type FabricPort = FabricSocketPort | FabricTapPort;
/** Free: guests send as they like. Throttled: output beyond half the bound is held, they send to the outside at a falling rate. Full: no port is read. */
export type FabricOutputState = 'free' | 'throttled' | 'full';
export type FabricEvent =
  /** A frame of a newer colour came: it is a barrier (R5). */
  | { readonly kind: 'newer-colour'; readonly colour: number; readonly from: number }
  /** A frame of another generation or incarnation came. */
  | { readonly kind: 'foreign-generation'; readonly generation: number; readonly from: number }
  /** How much output is held passed a step, up or down. */
  | { readonly kind: 'output-bound'; readonly state: FabricOutputState };
export interface FabricStats {
  readonly colour: number;
  readonly generation: number;
  readonly heldOutputFrames: number;
  readonly heldOutputBytes: number;
  readonly releasedFrames: number;
  readonly outputState: FabricOutputState;
  /** How often guests were throttled, and stopped. */
  readonly timesThrottled: number;
  readonly timesFull: number;
  /** Datagrams of another cluster, generation, incarnation, session, of no peer, not for this host, or malformed. */
  readonly droppedForeign: number;
  /** Datagrams whose MAC is wrong: made by somebody without the secret, or damaged. */
  readonly droppedForged: number;
  /** Genuine datagrams of a life of their host that is not the admitted one. */
  readonly droppedLife: number;
  /** Hellos that are not newer than all before: recorded and sent again, or overtaken. */
  readonly droppedReplayed: number;
  readonly droppedQueue: number;
  readonly earlyHeld: number;
  readonly lateLogged: number;
  readonly ports: readonly FabricPortStats[];
  readonly peers: readonly FabricPeerStats[];
}
export interface FabricPortStats {
  readonly nic: string;
  /** From the guest. */
  readonly rxFrames: number;
  readonly rxBytes: number;
  /** To the guest. */
  readonly txFrames: number;
  readonly txBytes: number;
  readonly dropped: number;
  /** For how long the port was not read, because too much waited. */
  readonly stopped_ms: number;
}
/** All counts since this life of the peer was wired. */
export interface FabricPeerStats {
  readonly host: number;
  /** Age in ms of the newest hello from this peer (one every 50 ms, in any generation): the second witness (R21). */
  readonly heard_ms: number;
  readonly rxFrames: number;
  readonly rxBytes: number;
  readonly txFrames: number;
  readonly txBytes: number;
  /** Frames of an older colour than the own, and of a newer one. */
  readonly late: number;
  readonly early: number;
  /** Numbers below the newest that have not come: lost, or still on the way. */
  readonly lost: number;
  readonly duplicates: number;
  /** Datagrams that claimed to come from it, with a wrong MAC. */
  readonly forged: number;
}

/**
 * A host's switch: one native thread, epoll. Ports are the VMs' NICs (unix datagram sockets or TAPs), tunnels are UDP, the edge is a packet socket.
 * A cut (R4): `hold` -> the agent stops the VMs -> `flip(e)` -> capture -> continue the VMs -> `release`. Where the VMs stand still for longer before
 * the flip, because all hosts wait for each other (R4a), `drain` comes when they have stopped.
 */
export class Fabric {
  constructor(options: FabricOptions, onEvents: (events: readonly FabricEvent[]) => void);
  addPort(port: FabricPort): Promise<void>;
  removePort(nic: string): Promise<void>;
  /** New wiring; held output of other generations is dropped except what `keepOutputUpTo` (a colour of the previous generation that the basis covers) releases now. */
  setGeneration(generation: FabricGeneration, keepOutputUpTo: number | null): Promise<void>;
  /** Stop forwarding, keep reading. */
  hold(): Promise<void>;
  /** All VMs are stopped, and stay so until the flip: what they sent leaves with the colour it has. Without a hold: does nothing. */
  drain(): Promise<void>;
  /**
   * All VMs are stopped. Drains every port (those frames have colour `epoch`), logs what is in flight on this host to the cut, sends
   * markers to all peers and makes the colour `epoch + 1`. If the colour is already newer: does nothing.
   */
  flip(epoch: number): Promise<void>;
  /** The VMs run again: deliver what was held, in order. */
  release(): Promise<void>;
  /** Channel state of cut `epoch`: resolves when every peer's marker and all counted frames came, or after `timeout_ms` (those peers are in `down`). */
  channelState(epoch: number, timeout_ms: number): Promise<{ frames: ChannelFrame[]; down: number[] }>;
  /** Output gate: everything of colour <= epoch leaves now, in order. */
  releaseOutput(epoch: number): Promise<{ frames: number; bytes: number; oldest_us: number }>;
  /** Protection off: output passes at once (true), or is held (false). Starts held. */
  setPassThrough(pass: boolean): Promise<void>;
  /** Delivers channel state to local NICs before anything new. */
  inject(frames: readonly ChannelFrame[]): Promise<void>;
  /** Sends an address announcement (RARP, and gratuitous ARP where `ip` is given) for a local NIC to the outside and to peers. */
  announce(nic: string, ip: string | null): Promise<void>;
  stats(): FabricStats;
  close(): void;
}
