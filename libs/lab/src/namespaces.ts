import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** The lab cannot be made on this machine; `message` says what is missing and what to do. */
export class LabUnavailable extends Error {
  override readonly name = 'LabUnavailable';
}

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

  /** As a power cut: every process inside gets SIGKILL at the same moment, memory and mounts are gone. Returns when they are. */
  async kill(): Promise<void> {
    if (this.alive) process.kill(this.initPid, 'SIGKILL');
    this.holder.stdin?.destroy();
    await this.ended;
  }
}

/** The one child of a process, or null. */
export function childOf(pid: number): number | null {
  const first = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')[0];
  return first === undefined || first === '' ? null : Number(first);
}
