import { DrillRefused } from './refused.js';

const toNumber = (address: string): number => address.split('.').reduce((value, part) => value * 256 + Number(part), 0);
const toAddress = (value: number): string => [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');

/** The longest prefix that holds all of them, from 16 to 24 bits: a cluster file does not say which network its guests are in. Null: none does. */
function commonPrefix(addresses: readonly number[]): number | null {
  for (let bits = 24; bits >= 16; bits--) {
    const size = 2 ** (32 - bits);
    if (new Set(addresses.map((address) => Math.floor(address / size))).size === 1) return bits;
  }
  return null;
}

/**
 * The check's own address on the guests' network, with its prefix length: `wanted`, or the highest that no guest has. Null when no guest tells an address:
 * then the check sets one itself. Throws DrillRefused.
 */
export function checkAddress(guests: readonly string[], wanted: string | null): { readonly address: string; readonly bits: number } | null {
  const all = [...guests, ...(wanted === null ? [] : [wanted])].map(toNumber);
  if (all.length === 0) return null;
  if (wanted !== null && guests.includes(wanted)) throw new DrillRefused(`${wanted} is a guest's address`, 'give another with --address');
  const bits = commonPrefix(all);
  if (bits === null) throw new DrillRefused(`no network of 16 bits or more holds ${guests.join(', ')}${wanted === null ? '' : ` and ${wanted}`}`, wanted === null ? 'give the check an address beside the guests that it asks with --address' : 'give an address beside the guests');
  if (wanted !== null) return { address: wanted, bits };
  const size = 2 ** (32 - bits);
  const network = Math.floor((all[0] ?? 0) / size) * size;
  for (let host = size - 2; host > 0; host--) if (!all.includes(network + host)) return { address: toAddress(network + host), bits };
  throw new DrillRefused(`the guests have every address of ${toAddress(network)}/${bits}`, 'give the check one with --address');
}
