import { jest } from '@jest/globals';
import { readFile } from 'node:fs/promises';
import type { QemuVm } from '../src/index.js';
import { createQemuDriver } from '../src/index.js';
import { driverContract } from './contract.js';
import { TestGuest } from './guest.js';

jest.setTimeout(120_000);

const guest = new TestGuest();
afterAll(() => guest.close());

driverContract('the QEMU driver', {
  runRoot: '/dev/shm',
  open: (runDir) => createQemuDriver({ runDir, log: () => undefined }),
  spec: (name, deed, at) => guest.spec(name, deed, at),
  console: async (vm) => {
    const path = (vm as QemuVm).consolePath;
    // Everything is in memory until the guest's first byte; then the file is there.
    return readFile(path, 'latin1').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw error;
    });
  },
  crash: (vm) => process.kill((vm as QemuVm).process.pid, 'SIGKILL'),
});
