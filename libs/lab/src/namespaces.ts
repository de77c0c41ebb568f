import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

/** The lab cannot be made on this machine; `message` says what is missing and what to do. */
export class LabUnavailable extends Error {
  override readonly name = 'LabUnavailable';
}

const WAKE_MS = 50; // between two tries to wake those who must see a dead machine's processes end
const FREEZE_MS = 5_000; // for processes of a busy machine to notice

/**
 * PID 1 of a machine. It lives as long as its standard input is open: when the process that opened the lab ends, however it ends, the kernel
 * kills all that runs in the machine and drops its mounts and interfaces. So nothing has to be swept up after a crash.
 */
const INIT = `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 run /run
mkdir /run/virtcft
mount -t tmpfs -o mode=1777 shm /dev/shm
ip link set lo up
echo ready
cat > /dev/null
exit 0`;

/** A machine of the lab: network, mount, PID and IPC namespaces with own /run, /proc and /dev/shm. The rest of the file system is shared. */
export class Namespaces {
  private constructor(readonly name: string, private readonly holder: ChildProcess, readonly initPid: number, private readonly ended: Promise<void>) {}

  static async create(name: string): Promise<Namespaces> {
    const holder = spawn('unshare', ['--mount', '--pid', '--net', '--ipc', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', INIT], { stdio: ['pipe', 'pipe', 'pipe'], env: process.env });
    const ended = new Promise<void>((resolve) => { holder.once('close', () => { resolve(); }); });
    let complaint = '';
    holder.stderr.on('data', (text: Buffer) => { complaint += text.toString(); });
    const ready = await new Promise<boolean>((resolve, reject) => {
      holder.once('error', (error) => { reject(new LabUnavailable(`cannot run unshare (${error.message}): install util-linux`)); });
      holder.stdout.once('data', () => { resolve(true); });
      void ended.then(() => { resolve(false); });
    });
    if (!ready || holder.pid === undefined) {
      throw new LabUnavailable(`cannot make namespaces for "${name}": ${complaint.trim() || 'unshare ended at once'}. ` +
        'The lab needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN (in a container: run it privileged)');
    }
    const initPid = childOf(holder.pid);
    if (initPid === null) throw new LabUnavailable('the kernel does not list children in /proc/PID/task/PID/children (CONFIG_PROC_CHILDREN)');
    return new Namespaces(name, holder, initPid, ended);
  }

  get alive(): boolean {
    return this.holder.exitCode === null && this.holder.signalCode === null;
  }

  /** Words to put before a command so that it runs inside. `--root` keeps a chroot that we ourselves may be in. */
  enter(): readonly string[] {
    return ['nsenter', `--target=${this.initPid}`, '--mount', '--pid', '--net', '--ipc', '--root'];
  }

  /** SIGSTOP to every process inside but PID 1, which a namespace protects and which only waits. */
  freeze(): void {
    // One that was being started while we looked is found by the next look.
    const told = new Set<number>();
    for (const end = performance.now() + FREEZE_MS; ;) {
      // One that waits in the kernel (D, as a parent for its child's exec) stops before it runs anything of its own.
      const running = this.inside().filter(({ pid, state }) => state !== 'T' && state !== 'Z' && !(state === 'D' && told.has(pid)));
      if (running.length === 0) return;
      if (performance.now() > end) throw new Error(`${this.name} does not stand still: ${running.map(({ pid, state }) => `${pid} is ${state}`).join(', ')}`);
      for (const { pid, parent } of running) {
        // What brought it in from outside stops with it, of its own accord.
        this.bringers.add(parent);
        signalled(pid, 'SIGSTOP');
        told.add(pid);
      }
    }
  }

  /** SIGCONT to every process inside. */
  thaw(): void {
    for (const { pid } of this.inside()) signalled(pid, 'SIGCONT');
    for (const pid of this.bringers) signalled(pid, 'SIGCONT');
    this.bringers.clear();
  }

  private readonly bringers = new Set<number>();

  /** Processes of this machine but PID 1, by their ids outside. */
  private inside(): { pid: number; parent: number; state: string }[] {
    const own = readlinkSync(`/proc/${this.initPid}/ns/pid`);
    return readdirSync('/proc').map(Number).filter((pid) => Number.isInteger(pid) && pid !== this.initPid).flatMap((pid) => {
      try {
        if (readlinkSync(`/proc/${pid}/ns/pid`) !== own) return [];
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        const [state = '', parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return [{ pid, parent: Number(parent), state }];
      } catch (error) {
        // It ended while we looked, or is of a machine that we are a container on.
        if (['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
        throw error;
      }
    });
  }

  /** As a power cut: every process inside gets SIGKILL at the same moment, memory and mounts are gone. Returns when they are. */
  async kill(): Promise<void> {
    if (this.alive) process.kill(this.initPid, 'SIGKILL');
    this.holder.stdin?.destroy();
    // Of a machine that died frozen: its end waits until they have seen their children's. One may be about to stop itself just now.
    const waking = setInterval(() => { for (const pid of this.bringers) signalled(pid, 'SIGCONT'); }, WAKE_MS);
    await this.ended;
    clearInterval(waking);
    for (const pid of this.bringers) signalled(pid, 'SIGCONT');
  }
}

/** False when there is no such process any more. */
function signalled(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** The one child of a process, or null. */
export function childOf(pid: number): number | null {
  const first = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')[0];
  return first === undefined || first === '' ? null : Number(first);
}
