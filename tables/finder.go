package tables

import "hash/maphash"

// place is a slot of a finder: some of a key's hash, and the number of its entry plus one; 0: nothing is there.
type place struct {
	hash  uint32
	entry int32
}

const (
	finderParts = 32
	partShift   = 64 - 5
	leastPlaces = 8
)

// finder finds entries by the hashes of their keys: open addressing with linear probing, 8 bytes for each place and no pointers. It is in
// parts that grow one by one, so that no write waits until millions of keys have been moved. Whoever asks compares the keys.
type finder struct {
	seed  maphash.Seed
	bits  uint64 // of hashes that are used: all, but in tests
	parts [finderParts]part
	n     int

	warmth byte // of no use, but that what was read for it is in the caches
}

type part struct {
	places []place // a power of two of them, or none
	n      int
}

func newFinder() finder { return finder{seed: maphash.MakeSeed(), bits: ^uint64(0)} }

func (f *finder) hash(key []byte) uint64 { return maphash.Bytes(f.seed, key) & f.bits }

// begin is where the search for a hash begins: its part, and the place in it. ok is false if the part is empty.
func (f *finder) begin(hash uint64) (places []place, at uint32, ok bool) {
	places = f.parts[hash>>partShift].places
	return places, uint32(hash) & uint32(len(places)-1), len(places) > 0
}

// add notes an entry, which must not be there.
func (f *finder) add(hash uint64, entry int32) {
	p := &f.parts[hash>>partShift]
	if p.n >= len(p.places)/4*3 {
		p.grow()
	}
	p.n++
	f.n++
	p.put(place{uint32(hash), entry + 1})
}

func (p *part) put(x place) {
	mask := uint32(len(p.places) - 1)
	at := x.hash & mask
	for p.places[at].entry != 0 {
		at = (at + 1) & mask
	}
	p.places[at] = x
}

func (p *part) grow() {
	old := p.places
	p.places = make([]place, max(2*len(old), leastPlaces))
	for _, x := range old {
		if x.entry != 0 {
			p.put(x)
		}
	}
}

// remove forgets an entry, which must be there. Those behind it that would not be found any more move up.
func (f *finder) remove(hash uint64, entry int32) {
	p := &f.parts[hash>>partShift]
	mask := uint32(len(p.places) - 1)
	at := uint32(hash) & mask
	for p.places[at].entry != entry+1 {
		at = (at + 1) & mask
	}
	for next := at; ; {
		next = (next + 1) & mask
		x := p.places[next]
		if x.entry == 0 {
			break
		}
		if home := x.hash & mask; (next-home)&mask >= (next-at)&mask {
			p.places[at] = x
			at = next
		}
	}
	p.places[at] = place{}
	p.n--
	f.n--
}
