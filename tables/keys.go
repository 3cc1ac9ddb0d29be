package tables

import "unsafe"

// keyRef is where the bytes of a key are: block, position in it, length. It is no pointer, so that tables of many million keys cost the
// garbage collector nothing.
type keyRef uint64

const (
	firstBlock  = 1 << 10
	fullBlock   = 1 << 16 // so that a position takes 16 bits
	longKey     = fullBlock / 4
	keyLenBits  = 16
	keyPosBits  = 16
	ownBlock    = 1<<keyLenBits - 1 // in place of a length: the key is the whole block
	keyPosShift = keyLenBits
	blockShift  = keyLenBits + keyPosBits
)

// keys holds the bytes of keys, one behind the other in blocks. Bytes are never written again: strings that are cut of a block, which
// may be kept beside entries, hold it, and one whose keys are all removed is left to the garbage collector.
type keys struct {
	blocks [][]byte
	used   []int32 // keys in each
	bytes  []int32 // of these keys
	free   []int32 // numbers of blocks that are gone
	cur    int32   // the block that is being filled, -1: none
	size   int     // of the next block
	held   int     // what blocks take
	live   int     // of it, keys that are there
	slack  int     // what may be lost before keys are moved; all but tests have the same
}

// keySlack is how much memory keys that are gone may take, beside as much as those that are there.
const keySlack = 4 * fullBlock

func newKeys() keys { return keys{cur: -1, size: firstBlock, slack: keySlack} }

// add copies a key.
func (k *keys) add(key []byte) keyRef {
	if len(key) >= longKey {
		n := k.open(append(make([]byte, 0, len(key)), key...))
		k.count(n, len(key))
		return keyRef(n)<<blockShift | ownBlock
	}
	if k.cur < 0 || len(k.blocks[k.cur])+len(key) > cap(k.blocks[k.cur]) {
		for k.size < len(key) {
			k.size *= 2
		}
		before := k.cur
		k.cur = k.open(make([]byte, 0, k.size))
		k.size = min(2*k.size, fullBlock)
		if before >= 0 && k.used[before] == 0 {
			k.drop(before)
		}
	}
	b := &k.blocks[k.cur]
	pos := len(*b)
	if len(key) == 0 {
		pos = 0 // that of an empty key might take 17 bits
	}
	*b = append(*b, key...)
	k.count(k.cur, len(key))
	return keyRef(k.cur)<<blockShift | keyRef(pos)<<keyPosShift | keyRef(len(key))
}

// count counts a key of a block.
func (k *keys) count(n int32, size int) {
	k.used[n]++
	k.bytes[n] += int32(size)
	k.live += size
}

// open gives a block a number.
func (k *keys) open(block []byte) int32 {
	k.held += cap(block)
	if n := len(k.free); n > 0 {
		at := k.free[n-1]
		k.free = k.free[:n-1]
		k.blocks[at] = block
		return at
	}
	k.blocks, k.used, k.bytes = append(k.blocks, block), append(k.used, 0), append(k.bytes, 0)
	return int32(len(k.blocks) - 1)
}

// remove says that a key is not needed any more.
func (k *keys) remove(r keyRef) {
	n, size := int32(r>>blockShift), len(k.at(r))
	k.bytes[n] -= int32(size)
	k.live -= size
	if k.used[n]--; k.used[n] == 0 && n != k.cur {
		k.drop(n)
	}
}

// wasteful says whether keys should be moved out of blocks that are sparse.
func (k *keys) wasteful() bool { return k.held > 2*k.live+k.slack }

// sparse says whether most of the block of a key is lost. Once no key is in such a block, keys are wasteful no more.
func (k *keys) sparse(r keyRef) bool {
	n := int32(r >> blockShift)
	return n != k.cur && 2*int(k.bytes[n]) < cap(k.blocks[n])
}

func (k *keys) drop(n int32) {
	k.held -= cap(k.blocks[n])
	k.blocks[n] = nil
	k.free = append(k.free, n)
}

// at returns a key. Its bytes stay what they are, even if it is removed.
func (k *keys) at(r keyRef) string {
	b := k.blocks[r>>blockShift]
	n := int(r & ownBlock)
	if n == ownBlock {
		return unsafe.String(unsafe.SliceData(b), len(b))
	}
	if n == 0 {
		return ""
	}
	return unsafe.String(&b[r>>keyPosShift&(fullBlock-1)], n)
}
