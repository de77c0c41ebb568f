import { checkSections, decodePack, imageKey, parseImage, parsePackKey, type ContentHold, type ContentUses, type Pack, type SegmentDisk } from '@virtcft/checkpoint';
import { ObjectMissing, type ObjectStore } from '@virtcft/object-store';
import { metrics } from '@virtcft/telemetry';
import { limits } from '../limits.js';
import type { RecentPacks } from '../recent-packs.js';
import { HttpError } from './errors.js';
import { readBody, type Route } from './server.js';

/** PUT /v1/packs/<key>: verified in every part, then durable, then acknowledged (R14, R15). `stored` is told of what is new. */
export function packRoutes(store: ObjectStore, recent: RecentPacks, uses: ContentUses, stored: (cluster: string, bytes: number) => void = () => undefined): Route[] {
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
        const outcome = await store.put(key, bytes);
        recent.add(key, pack, bytes.length);
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

async function checkImage(store: ObjectStore, held: ContentHold, cluster: string, what: string, { bytes, image }: Pick<SegmentDisk, 'bytes' | 'image'>): Promise<void> {
  if (image === null) return;
  const key = imageKey({ cluster, hash: image });
  await held.use(key);
  const stored = await store.get(key).catch((error: unknown) => {
    throw error instanceof ObjectMissing ? new HttpError(409, `${what} begins with image ${image}, which is not stored`) : error;
  });
  if (parseImage(stored, image).bytes !== bytes) throw new HttpError(400, `${what} has ${bytes} bytes, the image that it begins with others`);
}
