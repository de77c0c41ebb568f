import { randomBytes } from 'node:crypto';
// eslint-disable-next-line @nx/enforce-module-boundaries -- a page section of a real guest is dear; the formats' own tests write one
import { pageSection } from '../../../libs/checkpoint/test/page-section.js';
import { CommittedPages, type StoredSection } from '../src/cut/committed-pages.js';
import { limits } from '../src/limits.js';

const nameOf = (at: number): string => at.toString(16).padStart(64, '0');
const sectionOf = (content: Buffer): Buffer => pageSection(8, false, [{ page: 3, kind: 'raw', bytes: content }]);
const random = (at: number): StoredSection => ({ reference: { pack: `pack ${at}`, segment: nameOf(at), offset: 100, length: 5000 }, section: sectionOf(randomBytes(4096)) });

describe('pages that later segments may refer to', () => {
  let now_ms: number;
  let pages: CommittedPages;
  beforeEach(() => {
    now_ms = 0;
    pages = new CommittedPages(() => now_ms);
  });
  afterEach(() => pages.close());
  const knows = (at: number): boolean => {
    try {
      return pages.referencesTo([nameOf(at), nameOf(at)])[0]?.pack === `pack ${at}`;
    } catch {
      return false;
    }
  };

  it('are those of committed epochs, and never of one that may be aborted yet (R2)', async () => {
    for (const epoch of [1, 2, 3]) pages.stored(epoch, [random(epoch)]);
    expect(pages.catalog.sources).toBe(0);
    await pages.commit(2);
    expect([1, 2, 3].map(knows)).toEqual([true, true, false]);
    expect(pages.catalog.sources).toBe(2);
    await pages.commit(3);
    expect(knows(3)).toBe(true);
  });

  it('are none of segments that hold nothing worth it', async () => {
    pages.stored(1, [{ ...random(1), section: sectionOf(Buffer.alloc(4096, 'text ')) }]);
    await pages.commit(1);
    expect([pages.catalog.sources, knows(1)]).toEqual([0, false]);
  });

  it('are too old once garbage could have taken them', async () => {
    pages.stored(1, [random(1)]);
    await pages.commit(1);
    now_ms = limits.reference_age_ms - 1;
    pages.stored(2, [random(2)]);
    await pages.commit(2);
    pages.expire();
    expect([1, 2].map(knows)).toEqual([true, true]);
    now_ms += 1;
    pages.expire();
    expect([1, 2].map(knows)).toEqual([false, true]);
    expect(pages.catalog.sources).toBe(1);
  });

  it('are forgotten with their generation, also those that are being added', async () => {
    pages.stored(1, [random(1), random(2)]);
    const adding = pages.commit(1);
    pages.forget();
    await adding;
    await pages.commit(9);
    expect([1, 2].map(knows)).toEqual([false, false]);
    expect(pages.catalog.sources).toBe(0);
  });

  it('are of the newest segments, as many as the catalog holds', async () => {
    const { section } = random(0);
    for (let at = 1; at <= 514; at++) pages.stored(1, [{ ...random(at), section }]);
    await pages.commit(1);
    expect([1, 2, 3, 514].map(knows)).toEqual([false, false, true, true]);
  });

  it('are of a bounded number of bytes before they are committed, and of no section that is large', async () => {
    const section = Buffer.alloc(limits.catalogued_section_bytes);
    pages.stored(1, [random(1)]);
    pages.stored(1, [{ ...random(2), section: Buffer.alloc(section.length + 1) }]);
    for (let bytes = 0; bytes < limits.uncommitted_section_bytes; bytes += section.length) pages.stored(2, [{ ...random(3), section }]);
    pages.stored(1, [random(4)]);
    await pages.commit(1);
    expect([1, 2].map(knows)).toEqual([false, false]);
    // Those that were kept are looked at.
    await expect(pages.commit(2)).rejects.toMatchObject({ code: 'EBADSECTION' });
  });
});
