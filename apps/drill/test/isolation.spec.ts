import { existsSync } from 'node:fs';
import { Isolation } from '../src/isolation.js';

describe('the own machine of a drill', () => {
  it('has no interface but lo, nothing in its memory, and when it ends everything in it does', async () => {
    const script = 'read plan; echo "$plan"; ls /sys/class/net /dev/shm >/dev/null; ip -o link | wc -l; ls /dev/shm | wc -l; echo $$; sleep 600 & wait';
    const isolation = await Isolation.start(['sh', '-c', script], process.env);
    isolation.input.write('the plan\n');
    let said = '';
    for await (const text of isolation.output.setEncoding('utf8')) {
      said += String(text);
      if (said.split('\n').length > 4) break;
    }
    expect(said).toBe('the plan\n1\n0\n1\n');
    const inside = isolation.pid;
    expect(existsSync(`/proc/${inside ?? 0}/ns/net`)).toBe(true);
    await isolation.end();
    expect(existsSync(`/proc/${inside ?? 0}`)).toBe(false);
    expect(isolation.pid).toBeNull();
  });

  it('ends with its program', async () => {
    const isolation = await Isolation.start(['sh', '-c', 'exit 3'], process.env);
    for await (const text of isolation.output) expect(text).toBeUndefined();
    await isolation.end();
    expect(isolation.pid).toBeNull();
  });
});
