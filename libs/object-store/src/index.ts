export * from './errors.js';
export * from './store.js';
export { openDirectoryStore } from './directory.js';
export { openS3Store } from './s3.js';
export type { S3Options } from './s3.js';
export { openStore } from './open.js';
export { s3Credentials, type Credentials } from './credentials.js';
export { sealedStore, type SealedOptions } from './sealed/sealed-store.js';
export { KeyFile, keysIn, type SealingKey, type SealingKeys } from './sealed/key-file.js';
