import { duplexPair } from 'node:stream';
import type { Duplex } from 'node:stream';
import fc from 'fast-check';
import { CommandAtHand } from '../src/drivers/qemu/command-at-hand.js';
import { LIMITS } from '../src/drivers/qemu/limits.js';
import { QmpClient } from '../src/drivers/qemu/qmp-client.js';
import type { QmpEvent } from '../src/drivers/qemu/qmp-client.js';
import { LineReader, parseMessage } from '../src/drivers/qemu/qmp-schemas.js';

const GREETING = '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, "capabilities": []}}';

/** Plays QEMU: answers what `replies` says, in order of the commands. */
function peer(stream: Duplex, reply: (command: { execute: string; id: number }) => unknown): void {
  const lines = new LineReader();
  stream.on('data', (chunk: Buffer) => {
    for (const line of lines.push(chunk)) {
      const answer = reply(JSON.parse(line) as { execute: string; id: number });
      if (answer !== undefined) stream.write(`${JSON.stringify(answer)}\r\n`);
    }
  });
}

const accept = (command: { execute: string; id: number }): unknown => ({ return: { did: command.execute }, id: command.id });

async function connected(reply: (command: { execute: string; id: number }) => unknown): Promise<{ client: QmpClient; qemu: Duplex }> {
  const [ours, theirs] = duplexPair();
  const client = new QmpClient(ours, 'vm');
  peer(theirs, (command) => (command.execute === 'qmp_capabilities' ? accept(command) : reply(command)));
  theirs.write(`${GREETING}\r\n`);
  expect(await client.ready()).toBe('7.2.22 (Debian 1:7.2)');
  return { client, qemu: theirs };
}

describe('QMP lines', () => {
  test('are whole whatever the chunks are', () => {
    fc.assert(fc.property(fc.array(fc.string({ minLength: 1, maxLength: 20 }).map((s) => `x${s.replaceAll(/[\r\n]/g, '')}x`)), fc.integer({ min: 1, max: 7 }), (lines, size) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\r\n`).join(''));
      const reader = new LineReader();
      const got: string[] = [];
      for (let at = 0; at < bytes.length; at += size) got.push(...reader.push(bytes.subarray(at, at + size)));
      expect(got).toEqual(lines);
    }));
  });

  test('are bounded', () => {
    const reader = new LineReader();
    expect(() => {
      for (let i = 0; i <= LIMITS.qmp_line_bytes / 65536; i++) reader.push(Buffer.alloc(65536, 0x20));
    }).toThrow(/more than/);
  });

  test('that are not QMP are refused, never something else', () => {
    for (const line of ['[]', '1', 'null', '{}', '{"return": {}}', '{"QMP": {}}', 'nonsense']) expect(() => parseMessage(line)).toThrow();
    fc.assert(fc.property(fc.json(), (line) => {
      try {
        expect(['greeting', 'return', 'error', 'event']).toContain(parseMessage(line).kind);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        expect((error as Error).name).not.toBe('TypeError');
      }
    }));
  });
});

describe('a command at hand', () => {
  async function atHand(): Promise<{ command: CommandAtHand; sent: () => string; qemu: Duplex; client: QmpClient }> {
    const [ours, theirs] = duplexPair();
    const client = new QmpClient(ours, 'vm', { events: false });
    let sent = '';
    theirs.on('data', (chunk: Buffer) => {
      sent += chunk.toString();
      // As QEMU: a command is whole with its last brace.
      for (let end = wholeUntil(sent); end > 0; end = wholeUntil(sent)) {
        const { execute, id } = JSON.parse(sent.slice(0, end)) as { execute: string; id: number };
        sent = sent.slice(end);
        if (execute !== 'silent') theirs.write(`${JSON.stringify({ return: { did: execute }, id })}\r\n`);
      }
    });
    theirs.write(`${GREETING}\r\n`);
    await client.ready();
    return { command: new CommandAtHand(client, 'stop'), sent: () => sent.trim(), qemu: theirs, client };
  }
  const wholeUntil = (text: string): number => {
    let depth = 0;
    for (let at = 0; at < text.length; at += 1) {
      if (text[at] === '{') depth += 1;
      if (text[at] === '}' && (depth -= 1) === 0) return at + 1;
    }
    return 0;
  };
  const delivered = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  test('is sent but for its last byte, which runs it; prepared or not, as often as wanted', async () => {
    const { command, sent, client } = await atHand();
    command.prepare({ filename: 'state-1', live: false });
    command.prepare({ filename: 'state-2', live: false });
    await delivered();
    expect(sent()).toMatch(/^\{"execute":"stop","arguments":\{"filename":"state-1","live":false\},"id":\d+$/);
    expect(await command.run()).toEqual({ did: 'stop' });
    expect(sent()).toBe('');
    expect(await command.run()).toEqual({ did: 'stop' });
    client.close();
  });

  test('is not disturbed by events, which its connection does not tell', async () => {
    const { command, qemu, client } = await atHand();
    const told: QmpEvent[] = [];
    client.onEvent((event) => told.push(event));
    command.prepare();
    qemu.write('{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}\r\n');
    expect(await command.run()).toEqual({ did: 'stop' });
    expect(told).toEqual([]);
    client.close();
  });

  test('rejects when QEMU goes, before it is run or while', async () => {
    const { command, qemu, client } = await atHand();
    const silent = new CommandAtHand(client, 'silent');
    const answer = silent.run();
    command.prepare();
    qemu.destroy();
    await expect(answer).rejects.toMatchObject({ code: 'vm-gone' });
    await expect(command.run()).rejects.toMatchObject({ code: 'vm-gone' });
  });
});

describe('the QMP client', () => {
  test('matches answers to commands sent before earlier ones are answered', async () => {
    const { client } = await connected(accept);
    const answers = await Promise.all([client.execute('stop'), client.execute('xen-save-devices-state'), client.execute('cont')]);
    expect(answers).toEqual([{ did: 'stop' }, { did: 'xen-save-devices-state' }, { did: 'cont' }]);
    client.close();
  });

  test('gives events to listeners until they leave', async () => {
    const { client, qemu } = await connected(accept);
    const seen: QmpEvent[] = [];
    const leave = client.onEvent((event) => seen.push(event));
    qemu.write('{"timestamp": {}, "event": "STOP"}\r\n{"event": "SHUTDOWN", "data": {"guest": true}}\r\n');
    await client.execute('stop');
    leave();
    qemu.write('{"event": "RESET"}\r\n');
    await client.execute('cont');
    expect(seen.map((event) => [event.name, event.data])).toEqual([['STOP', {}], ['SHUTDOWN', { guest: true }]]);
    client.close();
  });

  test('says refused, with the words of QEMU', async () => {
    const { client } = await connected((command) => ({ error: { class: 'GenericError', desc: 'no such thing' }, id: command.id }));
    await expect(client.execute('cont')).rejects.toMatchObject({ code: 'refused', message: expect.stringContaining('no such thing') });
    client.close();
  });

  test('gives a command up after its time, and ignores the late answer', async () => {
    const late: (() => void)[] = [];
    const { client, qemu } = await connected((command) => {
      if (command.execute !== 'slow') return accept(command);
      late.push(() => qemu.write(`${JSON.stringify(accept(command))}\r\n`));
      return undefined;
    });
    await expect(client.execute('slow', undefined, 20)).rejects.toMatchObject({ code: 'vm-stuck' });
    late.forEach((answer) => answer());
    expect(await client.execute('quick')).toEqual({ did: 'quick' });
    client.close();
  });

  test('ends everything that waits when the connection ends or is not QMP', async () => {
    const { client, qemu } = await connected(() => undefined);
    const waiting = client.execute('stop');
    qemu.end();
    await expect(waiting).rejects.toMatchObject({ code: 'vm-gone' });
    await expect(client.execute('cont')).rejects.toMatchObject({ code: 'vm-gone' });

    const other = await connected(() => undefined);
    const command = other.client.execute('stop');
    other.qemu.write('HTTP/1.1 400 Bad Request\r\n');
    await expect(command).rejects.toMatchObject({ code: 'vm-gone', message: expect.stringContaining('not QMP') });
  });

  test('does not queue without end', async () => {
    const { client } = await connected(() => undefined);
    const waiting = Array.from({ length: LIMITS.qmp_pending }, () => client.execute('stop'));
    await expect(client.execute('stop')).rejects.toMatchObject({ code: 'vm-stuck' });
    client.close();
    const ends = await Promise.allSettled(waiting);
    expect(ends.every((end) => end.status === 'rejected')).toBe(true);
  });
});
