import { PassThrough } from 'node:stream';
import type { VmSpec } from '../src/index.js';
import { XenSession, createXenDriver } from '../src/index.js';
import { checkXenSpec, domainFile, listed, xlInfo } from '../src/drivers/xen/domain-file.js';
import { ReplyReader, type Said } from '../src/drivers/xen/replies.js';

const spec: VmSpec = { name: 'web', memory_mib: 96, vcpus: 2, clock: 'stop', kernel: '/srv/vmlinux', initrd: '/srv/initrd', append: 'console=hvc0', nics: [] };

describe('what virtcft-xen says', () => {
  const text = Buffer.from('ok virtcft-xen=1 pid=7 xen=4.17.7\nok bytes=5 pages=2\nab\ncdevent condition=off\nerror ESTATE not now\nok\n');

  test.each([1, 2, 7, 1000])('is read in pieces of %i bytes', (piece) => {
    const reader = new ReplyReader();
    const said: Said[] = [];
    for (let at = 0; at < text.length; at += piece) said.push(...reader.push(text.subarray(at, at + piece)));
    expect(said).toMatchObject([
      { kind: 'ok' }, { kind: 'ok', payload: Buffer.from('ab\ncd') }, { kind: 'event', values: new Map([['condition', 'off']]) }, { kind: 'error', code: 'ESTATE', message: 'not now' }, { kind: 'ok' },
    ]);
  });

  test.each(['hello\n', 'ok bytes=-1\n', 'ok bytes=99999999999999\n', 'ok =1\n', 'x'.repeat(9_000)])('is refused when it is %j', (wrong) => {
    expect(() => new ReplyReader().push(Buffer.from(wrong))).toThrow(RangeError);
  });
});

describe('a session', () => {
  function opened(): { session: XenSession; say: (text: string) => void; end: (reason: string) => void; asked: () => string; conditions: string[] } {
    const [input, output] = [new PassThrough(), new PassThrough()];
    let end = (_: string): void => undefined;
    const ended = new Promise<string>((resolve) => { end = resolve; });
    const conditions: string[] = [];
    const session = new XenSession({ input, output, ended }, (condition) => conditions.push(condition));
    return { session, say: (text) => output.write(text), end, asked: () => String(input.read() ?? ''), conditions };
  }

  test('asks in order and gives each answer to its request; errors have the code that says what to do', async () => {
    const { session, say, asked, conditions } = opened();
    say('ok virtcft-xen=1 pid=7 xen=4.17.7\n');
    expect(await session.hello()).toEqual({ pid: 7, xen: '4.17.7' });
    const [first, second] = [session.ask(['capture', 3]), session.ask(['supply'], Buffer.from('abc'))];
    await new Promise(setImmediate);
    expect(asked()).toBe('capture 3\nsupply +3\nabc');
    say('ok pages=4\nevent condition=crashed\nerror ESUSPEND it does not answer\n');
    expect((await first).number('pages')).toBe(4);
    await expect(second).rejects.toMatchObject({ code: 'vm-stuck', message: 'it does not answer' });
    expect(conditions).toEqual(['crashed']);
  });

  test('that has lost its program fails what waits and all that comes', async () => {
    const { session, say, end } = opened();
    say('ok pid=7\n');
    const waiting = session.ask(['precopy']);
    await session.hello();
    await new Promise(setImmediate);
    end('it ended with SIGKILL');
    await expect(waiting).rejects.toMatchObject({ code: 'vm-gone', message: expect.stringContaining('SIGKILL') as string });
    await expect(session.ask(['state'])).rejects.toMatchObject({ code: 'vm-gone' });
  });
});

test('a domain file keeps what has ended for the one who protects it', () => {
  expect(domainFile(spec)).toContain('type="pvh"\nkernel="/srv/vmlinux"\nramdisk="/srv/initrd"\nextra="console=hvc0"\nmemory=96\nvcpus=2\nvif=[]\non_poweroff="preserve"');
});

test('NICs are vifs whose script ties them to what carries their frames', () => {
  const nics = [{ mac: '52:54:00:00:00:01' }, { mac: '52:54:00:00:00:02' }];
  expect(domainFile({ ...spec, nics }, '/etc/xen/scripts/cable')).toContain('vif=["mac=52:54:00:00:00:01,script=/etc/xen/scripts/cable", "mac=52:54:00:00:00:02,script=/etc/xen/scripts/cable"]\n');
  checkXenSpec({ ...spec, nics }, true);
  expect(() => { checkXenSpec({ ...spec, nics: [{ mac: '52:54", bridge=x' }] }, true); }).toThrow(/no address of a NIC/);
});

test.each<[string, Partial<VmSpec>]>([
  ['a name', { name: 'a b' }], ['NICs', { nics: [{ mac: '52:54:00:00:00:01' }] }], ['disks', { disks: [{ name: 'd', bytes: 4096, socket: '/s' }] }], ['a quotation mark', { append: 'a"b' }], ['MiB', { memory_mib: 1 }],
])('what the driver cannot run is refused by name: %s', (word, change) => {
  expect(() => { checkXenSpec({ ...spec, ...change }, false); }).toThrow(expect.objectContaining({ code: 'spec-invalid', message: expect.stringContaining(word) as string }) as Error);
});

test('reads what xl and virtcft-xen list', () => {
  expect(xlInfo('free_memory            : 300\nhw_caps                : 1:2\n').get('free_memory')).toBe('300');
  expect(listed('domain=3 name=web condition=running paused=0\n')).toEqual([{ domain: 3, name: 'web' }]);
});

test('says plainly where there is no Xen', async () => {
  const transport = { run: () => Promise.resolve({ code: 1, out: Buffer.alloc(0), err: 'virtcft-xen: ENOXEN: there is no Xen to talk to' }), open: () => { throw new Error('not opened'); } };
  await expect(createXenDriver({ program: 'virtcft-xen', owner: 'agent', transport, log: () => undefined })).rejects.toMatchObject({ code: 'host-unfit', message: expect.stringContaining('ENOXEN') as string });
});
