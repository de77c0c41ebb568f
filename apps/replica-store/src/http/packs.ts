import { checkSections, CutBroken, decodePack, FormatError, imageKey, parseImage, parsePackKey, resolvePack, type ContentHold, type ContentUses, type Pack, type ReadSection, type SegmentDisk } from '@virtcft/checkpoint';
import { ObjectMissing, type ObjectStore } from '@virtcft/object-store';
import { metrics } from '@virtcft/telemetry';
import { limits } from '../limits.js';
import type { RecentPacks } from '../recent-packs.js';
import { HttpError } from './errors.js';
import { readBody, type Route } from './server.js';

/** PUT /v1/packs/<key>: verified in every part, then durable, then acknowledged (R14, R15). `stored` is told of what is new. */
export function packRoutes(store: ObjectStore, recent: RecentPacks, uses: ContentUses, stored: (cluster: string, bytes: number) => void = () => undefined): Route[] {
  const sections = recent.sections(store);
  return [{
    method: 'PUT', pattern: /^\/v1\/packs\/(?<key>[A-Za-z0-9/_.-]{1,400})$/,
    handle: async ({ request, response, path }) => {
      const key = path['key'] ?? '';
      if (parsePackKey(key) === null) throw new HttpError(400, `"${key}" is not the key of a pack`);
      const bytes = await readBody(request, limits.pack_bytes);
      const pack = decodePack(bytes);
      if (pack.key !== key) throw new HttpError(400, `the pack is not what its key names; its own is "${pack.key}"`);
      pack.segments.forEach(checkSections);
      const held = uses.hold();
      try {
        await checkImages(store, held, pack);
        const whole = await checkReferences(store, held, pack, sections);
        const outcome = await store.put(key, bytes);
        recent.add(pack, whole);
        if (outcome === 'created') metrics.storedBytes(bytes.length, { kind: 'pack' });
        if (outcome === 'created') stored(pack.cluster, bytes.length);
        response.writeHead(outcome === 'created' ? 201 : 200).end();
      } finally {
        held.release();
      }
    },
  }];
}

/** A cut is verified before it commits (R18): what a full segment's memory and disks begin with, too, must be in the store. */
async function checkImages(store: ObjectStore, held: ContentHold, { cluster, segments }: Pack): Promise<void> {
  for (const { vm, kind, disks, image, memory_bytes } of segments.map(({ header }) => header)) {
    if (kind !== 'full') continue;
    if (image !== undefined) await checkImage(store, held, cluster, `the memory of VM "${vm}"`, { bytes: memory_bytes, image });
    for (const disk of disks) await checkImage(store, held, cluster, `disk "${disk.name}" of VM "${vm}"`, disk);
  }
}

/** What its segments refer to, too, must be there, and stays. Gives the pack with those pages in it. */
async function checkReferences(store: ObjectStore, held: ContentHold, pack: Pack, sections: ReadSection): Promise<Pack> {
  const lost = (key: string, reason: string): HttpError => new HttpError(409, `it refers to pages of pack "${key}": ${reason}`);
  await Promise.all([...new Set(pack.references.map((reference) => reference.pack))].map(async (key) => {
    await held.use(key);
    if (await store.stat(key) === null) throw lost(key, 'it is not stored');
  }));
  return resolvePack(pack, sections).catch((error: unknown) => {
    if (error instanceof CutBroken) throw lost(error.key, error.reason);
    throw (error as { code?: string }).code === 'EBADSECTION' ? new FormatError('page section', (error as Error).message) : error;
  });
}

async function checkImage(store: ObjectStore, held: ContentHold, cluster: string, what: string, { bytes, image }: Pick<SegmentDisk, 'bytes' | 'image'>): Promise<void> {
  if (image === null) return;
  const key = imageKey({ cluster, hash: image });
  await held.use(key);
  const stored = await store.get(key).catch((error: unknown) => {
    throw error instanceof ObjectMissing ? new HttpError(409, `${what} begins with image ${image}, which is not stored`) : error;
  });
  if (parseImage(stored, image).bytes !== bytes) throw new HttpError(400, `${what} has ${bytes} bytes, the image that it begins with others`);
}
