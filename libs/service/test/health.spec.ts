import { createServer, type AddressInfo } from 'node:net';
import { Health, serveHealth, WrongConfiguration } from '../src/index.js';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('the health of a service', () => {
  it('is ready once it has started and all it needs is there, and not when it stops', () => {
    const health = new Health();
    let connected = false;
    health.need('bus', () => connected);
    expect(health.missing()).toEqual(['starting', 'bus']);
    health.started();
    expect(health.missing()).toEqual(['bus']);
    connected = true;
    expect(health.missing()).toEqual([]);
    health.startsAgain();
    expect(health.missing()).toEqual(['starting']);
    health.stops();
    expect(health.missing()).toEqual(['stopping']);
  });

  it('is served where the environment says, and nowhere without a port', async () => {
    const health = new Health();
    expect(await serveHealth(health, {})).toBeNull();
    const port = await freePort();
    const server = await serveHealth(health, { VIRTCFT_HEALTH_PORT: String(port) });
    const ask = async (path: string): Promise<{ status: number; body: unknown }> => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      return { status: response.status, body: await response.json() };
    };
    expect(await ask('/live')).toEqual({ status: 200, body: { ok: true, missing: [] } });
    expect(await ask('/ready')).toEqual({ status: 503, body: { ok: false, missing: ['starting'] } });
    health.started();
    expect(await ask('/ready')).toEqual({ status: 200, body: { ok: true, missing: [] } });
    expect((await ask('/other')).status).toBe(404);
    await expect(serveHealth(health, { VIRTCFT_HEALTH_PORT: String(port) })).rejects.toThrow(WrongConfiguration);
    await server?.close();
    await expect(fetch(`http://127.0.0.1:${port}/live`)).rejects.toThrow();
  });

  it.each(['0', '70000', 'x'])('refuses the port %s', async (port) => {
    await expect(serveHealth(new Health(), { VIRTCFT_HEALTH_PORT: port })).rejects.toThrow(WrongConfiguration);
  });
});
