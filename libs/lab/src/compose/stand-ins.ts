import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { command } from '../command.js';
import { LabUnavailable } from '../namespaces.js';
import type { Engine } from './engine.js';

const run = promisify(execFile);
/** Changes when what is in the stand-ins does. */
const NPM = 'npm@11.6.2'; // Node 24's own
const EDITION = `1-node-${process.versions.node}`;
const LABEL = 'virtcft.stand-in';
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';

/** Images that the compose file and the Dockerfiles name, where no registry can be reached: the same distribution, Node, NATS and MinIO, made here. */
export async function makeStandIns(engine: Engine, root: string, work: string): Promise<void> {
  const node = 'node:24-bookworm-slim';
  if (!(await isMade(engine, node))) await importNode(engine, node, work);
  const bin = join(root, '.cache', 'bin');
  await build(engine, work, 'nats:2.12.1-alpine', [join(bin, 'nats-server')], ['COPY nats-server /usr/local/bin/', 'ENTRYPOINT ["nats-server"]']);
  const minio = join(root, 'docker', 'minio');
  await build(engine, work, 'virtcft/minio:0.1.0', [join(bin, 'minio'), join(bin, 'mc'), minio], [
    'COPY minio mc /usr/local/bin/', 'COPY provided/ready provided/provision provided/*.json /usr/local/lib/virtcft/',
    // The last lines of the real one.
    'ENV MC_CONFIG_DIR=/tmp/mc SSL_CERT_FILE=/run/secrets/ca.crt',
    'HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 CMD ["/usr/local/lib/virtcft/ready"]',
    'CMD ["minio", "server", "--quiet", "--certs-dir", "/certs", "--address", ":9000", "/data"]',
  ]);
}

/** A new base would make every layer on it anew. */
async function isMade(engine: Engine, image: string): Promise<boolean> {
  const labels = await engine.docker(['image', 'inspect', '--format', `{{index .Config.Labels "${LABEL}"}}`, image]).catch(() => '');
  return labels.trim() === EDITION;
}

async function importNode(engine: Engine, image: string, work: string): Promise<void> {
  const [folder, archive] = [join(work, 'node'), join(work, 'node.tar')];
  await run('mmdebstrap', ['--quiet', '--variant=minbase', '--include=ca-certificates,wget', 'bookworm', folder, 'http://deb.debian.org/debian']).catch((error: unknown) => {
    throw new LabUnavailable(`the base of the images cannot be made: ${String((error as { stderr?: string }).stderr ?? error).trim()}`, { cause: error });
  });
  const local = join(folder, 'usr', 'local');
  const home = dirname(dirname(realpathSync(process.execPath)));
  for (const [from, to] of [[process.execPath, 'bin/node'], [join(home, 'include', 'node'), 'include/node']] as const) {
    if (!existsSync(from)) throw new LabUnavailable(`${from} is missing: it belongs to Node as npm run setup brings it`);
    mkdirSync(dirname(join(local, to)), { recursive: true });
    cpSync(from, join(local, to), { recursive: true, dereference: true });
  }
  // A distribution's npm has its parts in many folders.
  await command(['npm', 'install', '--silent', '--no-save', '--no-package-lock', '--prefix', join(local, 'lib'), NPM]);
  for (const name of ['npm', 'npx']) symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, join(local, 'bin', name));
  await command(['chroot', folder, 'useradd', '--uid', '1000', '--create-home', 'node']);
  // Whom this machine trusts its builds must trust, too.
  cpSync(CERTIFICATES, join(folder, CERTIFICATES));
  await command(['tar', '-C', folder, '-cf', archive, '.']);
  await engine.docker(['import', '--change', `ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}`, '--change', `LABEL ${LABEL}=${EDITION}`, '--change', 'CMD ["node"]', archive, image]);
  rmSync(folder, { recursive: true });
  rmSync(archive);
}

/** An image on the Node one with some files of this machine: a folder is copied as `provided`. */
async function build(engine: Engine, work: string, image: string, files: readonly string[], lines: readonly string[]): Promise<void> {
  const context = join(work, image.replaceAll(/[^a-z0-9]/g, '-'));
  mkdirSync(context, { recursive: true });
  for (const file of files) {
    if (!existsSync(file)) throw new LabUnavailable(`${file} is missing: npm run test:compose brings it`);
    const name = file.split('/').at(-1) ?? '';
    cpSync(file, join(context, name === 'minio' && !file.includes('/bin/') ? 'provided' : name), { recursive: true });
  }
  writeFileSync(join(context, 'Dockerfile'), ['FROM node:24-bookworm-slim', ...lines, ''].join('\n'));
  // The plugin for the new builder is not needed for a copy.
  await engine.docker(['build', '--quiet', '--tag', image, context], { env: { DOCKER_BUILDKIT: '0' } });
  rmSync(context, { recursive: true });
}
