import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';

const path = new URL('./build/Release/virtcft.node', import.meta.url);

function load() {
  if (!existsSync(path)) {
    throw Object.assign(new Error('the native addon is not built: run `npm run setup` (or `npm run build -w native`) first; it needs g++ and libzstd-dev'), {
      code: 'ENOTBUILT',
    });
  }
  return createRequire(import.meta.url)(path.pathname);
}

export const { Fabric, GuestDisk, GuestMemory, PageCatalog, ReplicaImage, expandChunk, inspectSection, probeTracker, resolveReferences, sha256, writeChunk } = load();
