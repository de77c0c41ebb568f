export { replicaStore, runReplicaStore, type ReplicaStoreConfiguration } from './run.js';
export { DataServer } from './http/server.js';
export { imageRoutes } from './http/images.js';
export { packRoutes } from './http/packs.js';
export { restoreRoutes } from './http/restores.js';
export { RecentPacks } from './recent-packs.js';
export { Replicas } from './replicas.js';
export { Verifications, type VerificationStatus } from './verification.js';
export { Scrubber, type ScrubOptions } from './scrubber.js';
