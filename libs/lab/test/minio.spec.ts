import { randomBytes } from 'node:crypto';
import { Lab, LabMinio, type StoreUser } from '@virtcft/lab';
import { openStore, StoreRefused, StoreUnavailable, type ObjectStore } from '@virtcft/object-store';

describe('the lab\'s MinIO', () => {
  let lab: Lab;
  beforeAll(async () => { lab = await Lab.open(); });
  afterAll(async () => { await lab.close(); });

  const key = (kind: string): string => `cluster/${kind}/${randomBytes(6).toString('hex')}`;
  const as = (minio: LabMinio, user: StoreUser): Promise<ObjectStore> => openStore(minio.outerUrl, minio.environment(user));

  it('gives each service the rights it needs over TLS and no others; to remove only where a retention wants it', async () => {
    const minio = await LabMinio.start(lab);
    const [coordinator, replicas] = [await as(minio, 'coordinator'), await as(minio, 'replica-store')];
    const [cut, pack, image, record] = [key('cuts'), key('packs'), key('images'), key('generations')];
    await coordinator.put(cut, Buffer.from('a manifest'));
    await coordinator.put(record, Buffer.from('a record'));
    await coordinator.put(key('definitions'), Buffer.from('a definition'));
    for (const [name, body] of [[pack, 'a pack'], [image, 'an image'], [key('chunks'), 'a chunk'], [key('bases'), 'a base']] as const) await replicas.put(name, Buffer.from(body));
    // Each reads what the other wrote.
    expect((await coordinator.get(pack)).toString()).toBe('a pack');
    expect((await replicas.get(cut)).toString()).toBe('a manifest');
    await expect(coordinator.put(key('packs'), Buffer.from('x'))).rejects.toThrow(StoreRefused);
    await expect(replicas.put(key('cuts'), Buffer.from('x'))).rejects.toThrow(StoreRefused);
    for (const store of [coordinator, replicas]) for (const name of [cut, pack, image]) await expect(store.remove(name)).rejects.toThrow(StoreRefused);
    await expect(replicas.remove(pack)).rejects.toThrow('removal.json');

    await minio.allowRemoval(true);
    await expect(coordinator.remove(pack)).rejects.toThrow(StoreRefused);
    await expect(replicas.remove(record)).rejects.toThrow(StoreRefused);
    for (const name of [pack, cut, image]) await replicas.remove(name);
    expect([await replicas.stat(pack), await replicas.stat(cut), await replicas.stat(image)]).toEqual([null, null, null]);
    const kept = key('packs');
    await replicas.put(kept, Buffer.from('kept'));
    await minio.allowRemoval(false);
    await expect(replicas.remove(kept)).rejects.toThrow(StoreRefused);

    // A crash takes nothing that was acknowledged, nor users and rights.
    await minio.kill();
    await expect(replicas.get(kept)).rejects.toThrow(StoreUnavailable);
    await minio.startAgain();
    expect((await replicas.get(kept)).toString()).toBe('kept');
    await expect(replicas.remove(kept)).rejects.toThrow(StoreRefused);
    await Promise.all([coordinator.close(), replicas.close()]);
    await minio.stop();
  }, 120_000);
});
