/** The cache of unwrapped data keys: bounded by time and number, one request in flight for each key. */

/** How often what has expired is dropped while no one asks, in milliseconds. */
const SWEEP = 5000;

/** Data keys by a digest of everything that decides whether they may be used. */
export class DataKeyCache {
  /** @type {Map<string, {until: number, key: Uint8Array}>} */
  #keys = new Map();
  /** @type {Map<string, Promise<Uint8Array>>} */
  #flights = new Map();
  /** @type {NodeJS.Timeout | undefined} */
  #sweeper;
  #ttl;
  #maximum;

  /**
   * @param {number} ttl Milliseconds.
   * @param {number} maximum
   */
  constructor(ttl, maximum) {
    this.#ttl = ttl;
    this.#maximum = maximum;
  }

  /**
   * @param {string} name
   * @returns {Uint8Array | undefined}
   */
  get(name) {
    const entry = this.#keys.get(name);
    if (entry === undefined) return undefined;
    this.#keys.delete(name);
    if (entry.until <= performance.now()) return undefined;
    // Moved to the end: the least recently used entry is dropped first.
    this.#keys.set(name, entry);
    return entry.key;
  }

  /**
   * The cached key, or the answer of one call that all who ask at the same time share. Errors are not kept.
   *
   * @param {string} name
   * @param {() => Promise<Uint8Array>} unwrap
   * @returns {Promise<Uint8Array>}
   */
  fetch(name, unwrap) {
    const cached = this.get(name);
    if (cached !== undefined) return Promise.resolve(cached);
    let flight = this.#flights.get(name);
    if (flight === undefined) {
      flight = unwrap()
        .then((key) => {
          this.#keep(name, key);
          return key;
        })
        .finally(() => this.#flights.delete(name));
      this.#flights.set(name, flight);
    }
    return flight;
  }

  /** Forgets every key. */
  clear() {
    this.#keys.clear();
  }

  /**
   * @param {string} name
   * @param {Uint8Array} key
   */
  #keep(name, key) {
    if (this.#ttl <= 0 || this.#maximum <= 0) return;
    // Up to a tenth less, so that keys that came together do not expire together.
    this.#keys.set(name, { until: performance.now() + this.#ttl * (1 - Math.random() / 10), key });
    for (const oldest of this.#keys.keys()) {
      if (this.#keys.size <= this.#maximum) break;
      this.#keys.delete(oldest);
    }
    this.#schedule();
  }

  #schedule() {
    if (this.#sweeper !== undefined || this.#keys.size === 0) return;
    this.#sweeper = setTimeout(() => this.#sweep(), SWEEP);
    this.#sweeper.unref();
  }

  #sweep() {
    const now = performance.now();
    for (const [name, { until }] of this.#keys) {
      if (until <= now) this.#keys.delete(name);
    }
    this.#sweeper = undefined;
    this.#schedule();
  }
}
