export type * from './port.js';
export type { Log } from './log.js';
export { HypervisorError } from './errors.js';
export type { HypervisorErrorCode } from './errors.js';
export { createQemuDriver } from './drivers/qemu/driver.js';
export type { QemuDriver, QemuDriverOptions } from './drivers/qemu/driver.js';
export type { QemuVm } from './drivers/qemu/vm.js';
export { QmpClient } from './drivers/qemu/qmp-client.js';
export { migrateStopped } from './drivers/qemu/migrate-stopped.js';
