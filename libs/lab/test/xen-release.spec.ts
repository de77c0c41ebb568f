import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { releaseOf, NoXenHere } = await import(pathToFileURL(join(import.meta.dirname, '..', 'xen', 'release.mjs')).href) as {
  releaseOf: (text: string) => { suite: string; sources: readonly string[]; xen: string }; NoXenHere: new () => Error;
};

describe('the release that a Xen host is built from', () => {
  it.each([['bookworm', '4.17'], ['trixie', '4.20']])('is the machine\'s own: Debian %s has Xen %s', (suite, xen) => {
    const release = releaseOf(`PRETTY_NAME="Debian GNU/Linux"\nID=debian\nVERSION_CODENAME=${suite}\n`);
    expect(release).toMatchObject({ suite, xen });
    expect(release.sources).toEqual([`deb http://deb.debian.org/debian ${suite} main`, `deb http://deb.debian.org/debian-security ${suite}-security main`]);
  });

  it.each(['PRETTY_NAME="Ubuntu 24.04.1 LTS"\nID=ubuntu\nVERSION_CODENAME=noble\n', 'PRETTY_NAME="Debian GNU/Linux 11"\nID=debian\nVERSION_CODENAME=bullseye\n', ''])('is no other, and the refusal says which would do', (text) => {
    expect(() => releaseOf(text)).toThrow(NoXenHere);
    expect(() => releaseOf(text)).toThrow(/Debian 12 or 13/);
  });
});
