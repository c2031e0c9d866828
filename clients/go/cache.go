package tokenseal

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// sweepEvery is how often what has expired is dropped while no one asks.
	sweepEvery = 5 * time.Second
	// flightLimit bounds a call that several callers wait for, and that none of them cancels alone.
	flightLimit = 30 * time.Second
)

type cacheName [32]byte

// dataKeyCache keeps unwrapped data keys, bounded by time and number, with one request in flight for each key.
type dataKeyCache struct {
	ttl     time.Duration
	maximum int

	lock    sync.Mutex
	keys    map[cacheName]*list.Element
	order   *list.List
	flights map[cacheName]*flight
	sweeper *time.Timer
}

type entry struct {
	name  cacheName
	key   []byte
	until time.Time
}

type flight struct {
	done chan struct{}
	key  []byte
	err  error
}

func newCache(ttl time.Duration, maximum int) *dataKeyCache {
	return &dataKeyCache{
		ttl: ttl, maximum: maximum,
		keys: map[cacheName]*list.Element{}, order: list.New(), flights: map[cacheName]*flight{},
	}
}

func (c *dataKeyCache) get(name cacheName) ([]byte, bool) {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.find(name)
}

func (c *dataKeyCache) find(name cacheName) ([]byte, bool) {
	element, ok := c.keys[name]
	if !ok {
		return nil, false
	}
	found := element.Value.(*entry)
	if !time.Now().Before(found.until) {
		c.drop(element)
		return nil, false
	}
	c.order.MoveToFront(element)
	return found.key, true
}

// fetch is the cached key, or the answer of one call that all who ask at the same time share. Errors are not kept.
func (c *dataKeyCache) fetch(
	ctx context.Context, name cacheName, unwrap func(context.Context) ([]byte, error),
) ([]byte, error) {
	c.lock.Lock()
	if key, ok := c.find(name); ok {
		c.lock.Unlock()
		return key, nil
	}
	waited, ok := c.flights[name]
	if !ok {
		waited = &flight{done: make(chan struct{})}
		c.flights[name] = waited
		go c.fly(context.WithoutCancel(ctx), name, waited, unwrap)
	}
	c.lock.Unlock()
	select {
	case <-waited.done:
		return waited.key, waited.err
	case <-ctx.Done():
		return nil, &KeyServiceError{"timeout", "the caller stopped waiting for the key service"}
	}
}

// fly makes the call without the first caller's cancellation, because others may be waiting for it.
func (c *dataKeyCache) fly(
	ctx context.Context, name cacheName, flight *flight, unwrap func(context.Context) ([]byte, error),
) {
	ctx, cancel := context.WithTimeout(ctx, flightLimit)
	defer cancel()
	flight.key, flight.err = unwrap(ctx)
	c.lock.Lock()
	delete(c.flights, name)
	if flight.err == nil {
		c.keep(name, flight.key)
	}
	c.lock.Unlock()
	close(flight.done)
}

func (c *dataKeyCache) keep(name cacheName, key []byte) {
	if c.ttl <= 0 || c.maximum <= 0 {
		return
	}
	// Up to a tenth less, so that keys that came together do not expire together.
	lifetime := c.ttl - time.Duration(rand.Int64N(int64(c.ttl)/10+1))
	if old, ok := c.keys[name]; ok {
		c.drop(old)
	}
	c.keys[name] = c.order.PushFront(&entry{name, key, time.Now().Add(lifetime)})
	for c.order.Len() > c.maximum {
		c.drop(c.order.Back())
	}
	c.schedule()
}

func (c *dataKeyCache) drop(element *list.Element) {
	delete(c.keys, element.Value.(*entry).name)
	c.order.Remove(element)
}

func (c *dataKeyCache) clear() {
	c.lock.Lock()
	defer c.lock.Unlock()
	clear(c.keys)
	c.order.Init()
}

func (c *dataKeyCache) schedule() {
	if c.sweeper == nil && c.order.Len() > 0 {
		c.sweeper = time.AfterFunc(sweepEvery, c.sweep)
	}
}

func (c *dataKeyCache) sweep() {
	c.lock.Lock()
	defer c.lock.Unlock()
	now := time.Now()
	for element := c.order.Front(); element != nil; {
		next := element.Next()
		if !now.Before(element.Value.(*entry).until) {
			c.drop(element)
		}
		element = next
	}
	c.sweeper = nil
	c.schedule()
}
