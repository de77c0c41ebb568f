import { mkdir, rm, stat } from 'node:fs/promises';
import { ReplicaImage } from '@virtcft/native';
import type { CutRef } from '@virtcft/events';
import type { ImageSource } from './base-images.js';
import { disksOf } from './base.js';
import { canonicalJson } from './canonical.js';
import { Chain } from './chain.js';
import type { SegmentFact } from './chain.js';
import type { ChannelFrame } from './channel-state.js';
import { beginApplying, endApplying, readTip, thisBoot, writeTip } from './fold-tip.js';
import type { FoldTip, VmTip } from './fold-tip.js';
import { cutRefOf } from './manifest.js';
import type { Manifest } from './manifest.js';
import { limits } from './limits.js';
import { concerning } from './object-source.js';
import { checkSections } from './pages.js';
import type { Pack } from './pack.js';
import { ReadAhead } from './read-ahead.js';
import type { Load } from './read-ahead.js';
import { RestoreView } from './restore-view.js';
import { compressDevice } from './segment.js';
import type { Segment, SegmentDisk, SegmentHeader } from './segment.js';
import type { BaseStart } from './stored-bases.js';
import { Turns } from './turns.js';

/** The cut does not follow on what is folded, or the fold is damaged: fold from the store (`foldCut`). */
export class FoldGap extends Error {
  readonly code = 'FOLD_GAP';
  override readonly name = 'FoldGap';
}

/** One segment to apply; its bytes come when they are needed. */
export interface FoldStep extends SegmentFact, Load<Segment> {
  /** Of the object that it is read from: what is refused of it is CutBroken with this key. */
  readonly key?: string;
  /** Its bytes are needed no more. */
  applied?(segment: Segment): void;
}
/** How a fold gets to a cut: steps per VM, oldest first. */
export interface FoldPlan {
  readonly manifest: Manifest;
  readonly steps: ReadonlyMap<string, readonly FoldStep[]>;
  /** Of VMs whose steps follow on a base, not on what is folded. */
  readonly bases?: ReadonlyMap<string, BaseStart>;
  readonly channel: readonly { readonly host: string; readonly frames: readonly ChannelFrame[] }[];
}

/** Name of an image among a fold's digests: a VM's memory by the VM's name, a disk below it. */
const diskName = (vm: string, disk: string): string => `${vm}/${disk}`;

/** The folded images of a cluster's VMs, memory and disks, at one cut, in a folder of its own, which one process uses at a time. */
export class ReplicaFold {
  readonly #images = new Map<string, ReplicaImage>();
  readonly #turns = new Turns();
  #tip: FoldTip | null = null;
  #damage: string | null = null;

  private constructor(readonly folder: string, readonly cluster: string, readonly boot: string, readonly images: ImageSource) {}

  /** Takes up what the folder holds if it can be trusted; else it begins empty, and `discarded` says why. `images` gives what disks begin with. */
  static async open(options: { readonly folder: string; readonly cluster: string; readonly images: ImageSource }): Promise<ReplicaFold> {
    await mkdir(options.folder, { recursive: true });
    const fold = new ReplicaFold(options.folder, options.cluster, await thisBoot(), options.images);
    fold.discarded = await fold.#resume();
    if (fold.discarded !== null) await fold.#clear();
    return fold;
  }

  /** Why an earlier content of the folder was thrown away; null when it was taken up. */
  discarded: string | null = null;

  /** The cut that the images hold; null when there is none. */
  get tip(): CutRef | null {
    return this.#tip?.cut ?? null;
  }

  get vms(): readonly string[] {
    return Object.keys(this.#tip?.vms ?? {});
  }

  /** Hash of the segment that is folded for this VM: where a chain may begin. */
  segmentOf(vm: string): string | null {
    return this.#tip?.vms[vm]?.segment ?? null;
  }

  /** Where the raw image of this disk lies; it is at the cut of `tip` while a view is open or nothing is applied. Throws RangeError. */
  diskPath(vm: string, disk: string): string {
    if (this.#tip?.vms[vm]?.disks.some(({ name }) => name === disk) !== true) throw new RangeError(`no disk "${disk}" of VM "${vm}" is folded`);
    return this.#diskPath(vm, disk);
  }

  /** Where the image of this VM's memory lies, as `diskPath` of a disk. */
  memoryPath(vm: string): string {
    if (this.#tip?.vms[vm] === undefined) throw new RangeError(`no VM "${vm}" is folded`);
    return this.#path(vm);
  }

  /** Changes that wait, for the caller to bound: each holds its packs in memory. */
  get waiting(): number {
    return this.#turns.waiting;
  }

  /**
   * Goes on to the cut of this manifest with the packs it names. Waits while views are open. Throws FoldGap when the cut builds on something
   * else than what is folded, FormatError or EBADSECTION when a segment is bad; then the fold stays as it was.
   */
  async apply(manifest: Manifest, packs: readonly Pack[]): Promise<void> {
    await this.#turns.change(() => this.#advance(() => this.#planFrom(manifest, packs)));
  }

  /** As `apply`, with a plan whose segments are loaded while folding. When that fails halfway the fold is damaged: open the folder anew. */
  async follow(plan: FoldPlan): Promise<void> {
    await this.#turns.change(() => this.#advance(() => plan));
  }

  /** A view of one VM at the folded cut, pinned until it is closed. Throws FoldGap when the fold is damaged, RangeError for an unknown VM. */
  async restoreView(vm: string): Promise<RestoreView> {
    const end = await this.#turns.read();
    const [tip, image, state] = [this.#tip, this.#images.get(vm), this.#tip?.vms[vm]];
    if (this.#damage === null && tip !== null && image !== undefined && state !== undefined) {
      const disks = new Map(state.disks.map(({ name }) => [name, this.#images.get(diskName(vm, name)) as ReplicaImage]));
      return new RestoreView(vm, tip.cut, state, { memory: image, disks }, end);
    }
    end();
    if (this.#damage !== null) throw new FoldGap(`the fold is damaged: ${this.#damage}`);
    throw new RangeError(`no VM "${vm}" in ${tip === null ? 'an empty fold' : `cut ${tip.cut.epoch}`}`);
  }

  /** Channel state of the folded cut, in order of delivery per NIC: of one host at the cut, or of all. */
  channel(host?: string): ChannelFrame[] {
    const frames = (this.#tip?.channel ?? []).filter((each) => host === undefined || each.host === host);
    return frames.map(({ nic, frame }) => ({ nic, frame: Buffer.from(frame, 'base64') }));
  }

  /** SHA-256 of every VM's memory at the folded cut, by its name, and of every disk, as `<vm>/<disk>`. */
  async digests(): Promise<Record<string, string>> {
    const end = await this.#turns.read();
    try {
      if (this.#damage !== null) throw new FoldGap(`the fold is damaged: ${this.#damage}`);
      return await this.#digestAll();
    } finally {
      end();
    }
  }

  /** Syncs and leaves a folder that is trusted after a restart of the machine, too. Waits for open views. */
  async close(): Promise<void> {
    await this.#turns.change(async () => {
      if (this.#tip !== null && this.#damage === null) {
        await Promise.all([...this.#images.values()].map((image) => image.sync()));
        await writeTip(this.folder, { ...this.#tip, digests: await this.#digestAll() });
      }
      this.#closeImages();
      this.#damage = 'it is closed';
    });
  }

  /** Closes a fold that nobody takes up: no digests, nothing synced. Waits for open views. */
  async abandon(): Promise<void> {
    await this.#turns.change(() => {
      this.#closeImages();
      this.#damage = 'it is closed';
      return Promise.resolve();
    });
  }

  #planFrom(manifest: Manifest, packs: readonly Pack[]): FoldPlan {
    const segments = new Map(packs.flatMap((pack) => pack.segments.map((segment) => [segment.hash, segment] as const)));
    const named = new Set(manifest.packs.map((pack) => pack.hash));
    const given = new Set(packs.map((pack) => pack.hash));
    for (const { key, hash } of manifest.packs) if (!given.has(hash)) throw new FoldGap(`pack "${key}" of the cut was not given`);
    for (const { key, hash } of packs) if (!named.has(hash)) throw new FoldGap(`pack "${key}" is not of this cut`);
    for (const { key, incarnation } of packs) if (incarnation !== manifest.incarnation) throw new FoldGap(`pack "${key}" is of another incarnation than the cut`);
    const find = (hash: string): FoldStep | undefined => {
      const segment = segments.get(hash);
      if (segment === undefined) return undefined;
      const { vm, parent, kind } = segment.header;
      checkSections(segment);
      return { vm, hash, parent, kind, bytes: segment.bytes.length, load: () => segment };
    };
    const steps = Object.entries(manifest.vms).map(([vm, { segment }]) => {
      const chain = new Chain<FoldStep>(vm, segment, this.segmentOf(vm));
      if (!chain.extend(find)) throw new FoldGap(`"${vm}" builds on segment ${chain.missing}, folded is ${this.segmentOf(vm) ?? 'nothing'}`);
      return [vm, chain.steps] as const;
    });
    const channel = packs.filter((pack) => pack.epoch === manifest.epoch).map(({ host, channel: frames }) => ({ host, frames }));
    return { manifest, steps: new Map(steps), channel };
  }

  async #advance(makePlan: () => FoldPlan): Promise<void> {
    if (this.#damage !== null) throw new FoldGap(`the fold is damaged: ${this.#damage}`);
    const plan = makePlan();
    const cut = cutRefOf(plan.manifest);
    if (plan.manifest.cluster !== this.cluster) throw new RangeError(`the cut is of cluster ${plan.manifest.cluster}`);
    await beginApplying(this.folder, cut.key);
    try {
      const vms: Record<string, VmTip> = {};
      // One VM after the other: the native side uses the processors, and the order keeps memory bounded.
      for (const [vm, steps] of plan.steps) vms[vm] = await this.#advanceVm(vm, steps, plan.manifest, plan.bases?.get(vm));
      for (const vm of this.vms) if (!(vm in vms)) await this.#drop(vm);
      const channel = plan.channel.flatMap(({ host, frames }) => frames.map(({ nic, frame }) => ({ host, nic, frame: frame.toString('base64') })));
      this.#tip = { format: 'virtcft/fold/1', cluster: this.cluster, cut, boot: this.boot, digests: null, vms, channel };
      await writeTip(this.folder, this.#tip);
      await endApplying(this.folder);
    } catch (error) {
      this.#damage = `folding "${cut.key}" failed: ${(error as Error).message}`;
      throw error;
    }
  }

  async #advanceVm(vm: string, steps: readonly FoldStep[], manifest: Manifest, start: BaseStart | undefined): Promise<VmTip> {
    const wanted = manifest.vms[vm] as Manifest['vms'][string];
    const segments = new ReadAhead(steps, { reads: limits.segmentReads, bytes: limits.segmentReadBytes });
    let tip: VmTip | undefined = start === undefined ? this.#tip?.vms[vm] : await this.#begin(vm, start, wanted.host);
    for (const step of steps) {
      const segment = await segments.take() as Segment;
      const { epoch, kind, parent, runState, memory_bytes, identity, disks } = segment.header;
      if (kind === 'full') await this.#create(vm, segment.header);
      if (!this.#images.has(vm) || (kind === 'delta' && (tip?.segment !== parent || tip?.memory_bytes !== memory_bytes))) throw new FoldGap(`"${vm}" has no image that segment ${segment.hash} can change`);
      if (kind === 'delta' && canonicalJson(tip?.disks) !== canonicalJson(disks)) throw new FoldGap(`segment ${segment.hash} of "${vm}" has other disks than its parent`);
      tip = {
        host: wanted.host, segment: segment.hash, epoch, runState, memory_bytes, identity,
        device: segment.deviceStored.toString('base64'), device_bytes: segment.device_bytes, disks,
      };
      const applying = (): Promise<void> => this.#applySegment(vm, segment);
      await (step.key === undefined ? applying() : concerning(step.key, applying));
      step.applied?.(segment);
    }
    const last = steps.at(-1);
    if (tip === undefined || tip.segment !== wanted.segment || (last !== undefined && last.kind !== wanted.kind) || tip.runState !== wanted.runState || tip.memory_bytes !== wanted.memory_bytes
      || canonicalJson(tip.disks) !== canonicalJson(wanted.disks)) {
      throw new FoldGap(`the manifest tells other things of "${vm}" than its segment`);
    }
    return { ...tip, host: wanted.host };
  }

  async #applySegment(vm: string, { header, pages, disks }: Segment): Promise<void> {
    const sections = [[vm, pages] as const, ...header.disks.map(({ name }, at) => [diskName(vm, name), disks[at] as Buffer] as const)];
    await Promise.all(sections.map(([name, section]) => (this.#images.get(name) as ReplicaImage).apply(section)));
  }

  async #create(vm: string, { memory_bytes, disks, image: memory }: SegmentHeader): Promise<void> {
    await this.#drop(vm);
    if (memory !== undefined) await this.images.materialise(memory, memory_bytes, this.#path(vm), 'once');
    for (const { name, bytes, image } of disks) {
      if (image !== null) await this.images.materialise(image, bytes, this.#diskPath(vm, name));
    }
    this.#open(vm, memory_bytes, disks);
  }

  /** What the base holds instead of what was folded. */
  async #begin(vm: string, start: BaseStart, host: string): Promise<VmTip> {
    const { memory, disks, segment, runState, identity, device: { bytes: device_bytes } } = start.base;
    await this.#drop(vm);
    await start.fill(memory, this.#path(vm));
    for (const disk of disks) await start.fill(disk, this.#diskPath(vm, disk.name));
    this.#open(vm, memory.bytes, disksOf(start.base));
    const device = await compressDevice(await start.device());
    return { host, segment: segment.hash, epoch: segment.epoch, runState, memory_bytes: memory.bytes, identity, device: device.toString('base64'), device_bytes, disks: disksOf(start.base) };
  }

  #open(vm: string, memory_bytes: number, disks: readonly SegmentDisk[]): void {
    this.#images.set(vm, new ReplicaImage({ path: this.#path(vm), bytes: memory_bytes }));
    for (const { name, bytes } of disks) this.#images.set(diskName(vm, name), new ReplicaImage({ path: this.#diskPath(vm, name), bytes }));
  }

  async #drop(vm: string): Promise<void> {
    for (const [name, image] of [...this.#images]) {
      if (name !== vm && !name.startsWith(diskName(vm, ''))) continue;
      image.close();
      this.#images.delete(name);
      await rm(name === vm ? this.#path(vm) : this.#diskPath(vm, name.slice(vm.length + 1)), { force: true });
    }
  }

  #path(vm: string): string {
    return `${this.folder}/${vm}.image`;
  }

  #diskPath(vm: string, disk: string): string {
    return `${this.folder}/${vm}.${disk}.raw`;
  }

  async #digestAll(): Promise<Record<string, string>> {
    const digests: Record<string, string> = {};
    for (const [vm, image] of this.#images) digests[vm] = await image.digest();
    return digests;
  }

  async #resume(): Promise<string | null> {
    const tip = await readTip(this.folder, this.cluster);
    if ('discard' in tip) return tip.discard;
    if (tip.boot !== this.boot && tip.digests === null) return 'the machine was restarted while it was in use';
    for (const [vm, { memory_bytes, disks }] of Object.entries(tip.vms)) {
      const files = [[this.#path(vm), memory_bytes] as const, ...disks.map(({ name, bytes }) => [this.#diskPath(vm, name), bytes] as const)];
      // A file that is not there would be opened as an empty one.
      for (const [path, bytes] of files) if ((await stat(path).catch(() => null))?.size !== bytes) return `"${path}" is not what was left`;
      this.#open(vm, memory_bytes, disks);
    }
    if (tip.digests !== null) {
      const found = await this.#digestAll();
      for (const [name, digest] of Object.entries(found)) if (tip.digests[name] !== digest) return `the image of "${name}" is not what was left`;
    }
    this.#tip = { ...tip, boot: this.boot, digests: null };
    await writeTip(this.folder, this.#tip);
    return null;
  }

  async #clear(): Promise<void> {
    this.#closeImages();
    await rm(this.folder, { recursive: true });
    await mkdir(this.folder, { recursive: true });
  }

  #closeImages(): void {
    for (const image of this.#images.values()) image.close();
    this.#images.clear();
  }
}
