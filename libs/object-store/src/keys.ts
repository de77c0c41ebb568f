/** Limit of S3 (1024 bytes) less room for a store's own prefix. */
const keyBytesMax = 900;
/** NAME_MAX of Linux file systems. */
const partBytesMax = 255;
const part = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * Throws RangeError unless `key` is safe as an object key and as a path: two or more parts of A-Z a-z 0-9 . _ - joined by `/`, none
 * beginning with a dot. (Two parts, because the S3 client's XML parser takes a key of digits only for a number.)
 */
export function checkKey(key: string): void {
  if (key.length > keyBytesMax) throw new RangeError(`object key of ${key.length} bytes; at most ${keyBytesMax}`);
  if (!isKey(key)) {
    throw new RangeError(`unsafe object key ${JSON.stringify(key.slice(0, 200))}: use folder/name of A-Z a-z 0-9 . _ -, no part beginning with a dot`);
  }
}

/** Whether it is a key as `checkKey` wants it. */
export function isKey(key: string): boolean {
  const parts = key.split('/');
  return key.length <= keyBytesMax && parts.length >= 2 && parts.every((each) => each.length <= partBytesMax && part.test(each));
}

/** A prefix is the beginning of a key, or empty. */
export function checkPrefix(prefix: string): void {
  if (prefix === '') return;
  checkKey(prefix.includes('/') ? `${prefix}x` : `${prefix}x/x`);
}

export function checkRange(range: { offset: number; length: number }): void {
  if (!Number.isSafeInteger(range.offset) || !Number.isSafeInteger(range.length) || range.offset < 0 || range.length < 1) {
    throw new RangeError(`bad byte range: offset ${range.offset}, length ${range.length}`);
  }
}
