export { Disk } from './disk.js';
export type { DiskIdentity, DiskPlace, EncodedDisk, OpenDisk } from './disk.js';
export { DiskError } from './errors.js';
export type { DiskErrorCode } from './errors.js';
export { importSource } from './import.js';
export type { ImageSource } from './import.js';
export { LIMITS } from './limits.js';
