import { copyFileSync, closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlocksStatus, DatabaseStatus, GUEST_PORTS, HistoryClient, Transactions, VectorStatus } from '@virtcft/lab';
import { unsound } from '../src/oracles/filesystem.js';
import { PlainGuests, until } from './plain-guests.js';

const BOOT_MS = 120_000;
const BLOCK = 4096;

describe('guests that remember each other and the outside', () => {
  let guests: PlainGuests;
  const clients: HistoryClient[] = [];
  const vector = (index: number): Promise<VectorStatus> => guests.ask(index, GUEST_PORTS.vectorControl, 'status', VectorStatus);

  beforeAll(async () => {
    guests = await PlainGuests.boot(['bank', 'bank', 'bank']);
    await until('connections between all', async () => (await Promise.all([0, 1, 2].map(vector))).every(({ connected }) => connected === 2));
  }, BOOT_MS);
  afterAll(async () => {
    await Promise.all(clients.map((client) => client.stop()));
    await guests.close();
  });

  it('messages carry what was received, and nothing is wrong with them', async () => {
    await until('checked messages', async () => (await vector(0)).checked > 500);
    for (const status of await Promise.all([0, 1, 2].map(vector))) {
      expect(status).toMatchObject({ errors: 0, error: '', orphans: 0, reconnects: 0 });
      for (const link of status.links) expect([link.received > 0, link.datagrams_received > 0]).toEqual([true, true]);
    }
  });

  it('an outside client finds its history, and one guest that went back to an earlier moment is found by the others and by the client', async () => {
    for (const index of [0, 1]) clients.push(new HistoryClient({ host: '127.0.0.1', port: await guests.lab.site.forward(guests.address(index), GUEST_PORTS.history) }, 50));
    for (const client of clients) client.start();
    await until('entries', () => clients.every(({ acked }) => acked > 20));
    const state = await guests.keep(0);
    const before = clients[0]?.acked ?? 0;
    await until('more entries', () => (clients[0]?.acked ?? 0) > before + 20);
    expect(await Promise.all(clients.map((client) => client.check()))).toMatchObject([{ broken: 0, complaints: [] }, { broken: 0, complaints: [] }]);
    await guests.goBack(0, state);
    // The guest itself sees that the others have received what it has not sent yet.
    await until('orphans', async () => (await vector(0)).orphans > 0);
    expect((await vector(0)).error).toMatch(/^10\.88\.0\.1[23]: has received (more|a message)/);
    const [rolledBack, other] = await Promise.all(clients.map((client) => client.check()));
    expect(rolledBack?.broken).toBeGreaterThan(0);
    expect(rolledBack?.complaints.join()).toMatch(/^entry \d+ (is (not there|[0-9a-f]{16}), and was told to be|was made after|was told of twice)/);
    expect(other).toMatchObject({ broken: 0, complaints: [] });
  }, BOOT_MS);
});

describe('a guest with disks', () => {
  let guests: PlainGuests;
  const blocks = (): Promise<BlocksStatus> => guests.ask(0, GUEST_PORTS.blocksControl, 'status', BlocksStatus);
  const database = (command = 'status'): Promise<DatabaseStatus> => guests.ask(0, GUEST_PORTS.database, command, DatabaseStatus);

  beforeAll(async () => {
    guests = await PlainGuests.boot(['database']);
    await until('a round over the blocks', async () => (await blocks()).rounds >= 1);
  }, BOOT_MS);
  afterAll(async () => { await guests.close(); });

  it('keeps every acknowledged transaction over a power cut, on a file system that is sound', async () => {
    const target = { host: '127.0.0.1', port: await guests.lab.site.forward(guests.address(0), GUEST_PORTS.database) };
    const transactions = new Transactions(target, { clients: 3, transactions_per_s: 60 });
    transactions.start();
    await until('transactions', () => transactions.acked > 30);
    await guests.kill(0);
    expect(await unsound(guests.disk(0, 'data'), guests.lab.dir)).toBeNull();
    guests.start(0);
    await database();
    const acked = transactions.acked;
    await until('more transactions', () => transactions.acked > acked + 3);
    const check = await transactions.check();
    expect(check).toMatchObject({ broken: 0, complaints: [] });
    expect(check.checked).toBeGreaterThan(30);
    expect(await database('check')).toMatchObject({ errors: 0, sound: true });
    await transactions.stop();
  }, BOOT_MS);

  it('a database of an earlier moment is found, and a file system that was torn', async () => {
    const target = { host: '127.0.0.1', port: await guests.lab.site.forward(guests.address(0), GUEST_PORTS.database) };
    const transactions = new Transactions(target, { clients: 1, transactions_per_s: 60 });
    const earlier = join(guests.lab.dir, 'earlier.img');
    await guests.kill(0);
    copyFileSync(guests.disk(0, 'data'), earlier);
    guests.start(0);
    await database();
    // Client 0 goes on with numbers that are taken by now: refused, and so counted.
    transactions.start();
    await sleep(1_000);
    expect((await transactions.check()).broken).toBeGreaterThan(0);
    await transactions.stop();
    const file = openSync(earlier, 'r+');
    writeSync(file, Buffer.alloc(1024 * BLOCK, 0x5a), 0, 1024 * BLOCK, 16 * BLOCK); // bitmaps and the first inodes
    closeSync(file);
    expect(await unsound(earlier, guests.lab.dir)).not.toBeNull();
  }, BOOT_MS);

  it('finds an old block and a torn one', async () => {
    await until('a round over the blocks', async () => (await blocks()).rounds >= 1);
    expect(await blocks()).toMatchObject({ errors: 0, torn: 0, old: 0 });
    const file = openSync(guests.disk(0, 'blocks'), 'r+');
    const [one, other] = [Buffer.alloc(BLOCK), Buffer.alloc(BLOCK)];
    readSync(file, one, 0, BLOCK, 0);
    const written = one.readBigUInt64LE(8);
    await until('block 0 written anew', () => {
      readSync(file, other, 0, BLOCK, 0);
      return other.readBigUInt64LE(8) > written;
    });
    writeSync(file, one, 0, BLOCK, 0); // whole, of an earlier moment
    await until('an old block', async () => (await blocks()).old > 0);
    readSync(file, one, 0, BLOCK, BLOCK);
    writeSync(file, Buffer.alloc(BLOCK / 2, 7), 0, BLOCK / 2, BLOCK + BLOCK / 2); // its second half
    await until('a torn block', async () => (await blocks()).torn > 0);
    closeSync(file);
    expect((await blocks()).error).toMatch(/^block 0: whole, but not what was written last: number 0 counter \d+ instead of \d+$/);
  }, BOOT_MS);
});
