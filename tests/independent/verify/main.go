// verify checks an export of the audit record without asking anybody, with nothing of ours but this file.
//
//	verify FOLDER VERIFIER-KEY...
//
// FOLDER is what `python -m guildhall verify-audit --export FOLDER` wrote: events.jsonl, checkpoint, tile/ and heads/.
// Heads from elsewhere (the second store, a witness) may be put into heads/. The program says what it proved, or what
// does not hold and exits 1: that the checkpoint is signed, that every line is a leaf and every leaf a line, in order
// (completeness), that every head is a beginning of the tree, by its root and by a consistency proof, and that lines
// all over the record are included, by inclusion proofs over the tiles.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	lineBytesMax = 16 << 20
	inclusions   = 1000
	batchLeaves  = 1 << 10 // a power of two, so that a batch is a whole subtree
	batchesAhead = 32
)

func main() {
	if len(os.Args) < 3 {
		fail("usage: verify FOLDER VERIFIER-KEY...")
	}
	folder := os.Args[1]
	verifiers := parseKeys(os.Args[2:])
	head := openHead(filepath.Join(folder, "checkpoint"), verifiers)
	heads := openHeads(filepath.Join(folder, "heads"), verifiers)
	for size := range heads {
		if size > int64(head.Size) {
			fail("a head of %d leaves was published, and the export has %d: the record was cut or put back", size, head.Size)
		}
	}
	began := time.Now()
	sampled := checkLines(folder, int64(head.Size), tlog.Hash(head.Hash), heads)
	seconds := time.Since(began).Seconds()
	checkProofs(folder, int64(head.Size), tlog.Hash(head.Hash), heads, sampled)
	fmt.Printf("%d events: complete, in order, under %d heads; %d inclusion and %d consistency proofs; %.0f events/s\n",
		head.Size, len(heads)+1, len(sampled), len(heads), float64(head.Size)/max(seconds, 1e-9))
}

// batch is some lines that follow each other, and what one processor makes of them.
type batch struct {
	content []byte
	ends    []int
	entries [][sha256.Size]byte
	leaves  []tlog.Hash
	root    tlog.Hash // of the subtree, where the batch is whole
	done    chan struct{}
}

func (b *batch) hash() {
	begin := 0
	for _, end := range b.ends {
		entry := sha256.Sum256(b.content[begin:end])
		b.entries = append(b.entries, entry)
		b.leaves = append(b.leaves, tlog.RecordHash(entry[:]))
		begin = end
	}
	if len(b.leaves) == batchLeaves {
		level := append([]tlog.Hash(nil), b.leaves...)
		for width := batchLeaves; width > 1; width /= 2 {
			for n := range width / 2 {
				level[n] = tlog.NodeHash(level[2*n], level[2*n+1])
			}
		}
		b.root = level[0]
	}
	close(b.done)
}

// readBatches reads the lines once, hands them to all processors, and gives the batches back in their order.
func readBatches(path string) <-chan *batch {
	work, ordered := make(chan *batch, batchesAhead), make(chan *batch, batchesAhead)
	for range runtime.NumCPU() {
		go func() {
			for each := range work {
				each.hash()
			}
		}()
	}
	go func() {
		file, err := os.Open(path)
		check(err)
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(make([]byte, 1<<20), lineBytesMax)
		next := &batch{done: make(chan struct{})}
		send := func() {
			work <- next
			ordered <- next
			next = &batch{content: make([]byte, 0, len(next.content)+len(next.content)/8), done: make(chan struct{})}
		}
		for lines.Scan() {
			next.content = append(next.content, lines.Bytes()...)
			next.ends = append(next.ends, len(next.content))
			if len(next.ends) == batchLeaves {
				send()
			}
		}
		check(lines.Err())
		send()
		close(work)
		close(ordered)
	}()
	return ordered
}

// checkLines rebuilds the tree from the lines alone and returns the entries of lines all over the record, by number.
func checkLines(folder string, size int64, root tlog.Hash, heads map[int64]tlog.Hash) map[int64][]byte {
	sampled := map[int64][]byte{}
	every := max(1, size/inclusions)
	within := map[int64]bool{} // the batches in the middle of which a head ends
	for number := range heads {
		within[number/batchLeaves] = within[number/batchLeaves] || number%batchLeaves != 0
	}
	var edge []tlog.Hash // the roots of whole subtrees, the largest first: one for each bit of the number of leaves
	number := int64(0)
	grow := func(subtree tlog.Hash, leaves int64) {
		edge = append(edge, subtree)
		number += leaves
		for bits := number / leaves; bits&1 == 0; bits >>= 1 {
			last := len(edge) - 1
			edge[last-1] = tlog.NodeHash(edge[last-1], edge[last])
			edge = edge[:last]
		}
		if want, found := heads[number]; found && rootOf(edge) != want {
			fail("the first %d lines do not lead to the head that was signed of them", number)
		}
	}
	if want, found := heads[0]; found && rootOf(edge) != want {
		fail("a head of nothing was signed, and its root is not that of nothing")
	}
	for each := range readBatches(filepath.Join(folder, "events.jsonl")) {
		<-each.done
		for n := (every - number%every) % every; n < int64(len(each.entries)); n += every {
			sampled[number+n] = bytes.Clone(each.entries[n][:])
		}
		if len(each.leaves) == batchLeaves && !within[number/batchLeaves] {
			grow(each.root, batchLeaves)
			continue
		}
		for _, leaf := range each.leaves {
			grow(leaf, 1)
		}
	}
	if number != size {
		fail("there are %d lines, and the signed head is of %d", number, size)
	}
	if rootOf(edge) != root {
		fail("the lines do not lead to the signed head")
	}
	return sampled
}

func rootOf(edge []tlog.Hash) tlog.Hash {
	if len(edge) == 0 {
		return tlog.Hash(sha256.Sum256(nil))
	}
	root := edge[len(edge)-1]
	for n := len(edge) - 2; n >= 0; n-- {
		root = tlog.NodeHash(edge[n], root)
	}
	return root
}

// checkProofs makes proofs from the tiles and checks them; the reader checks the tiles against the root itself.
func checkProofs(folder string, size int64, root tlog.Hash, heads map[int64]tlog.Hash, sampled map[int64][]byte) {
	if size == 0 {
		return
	}
	tree := tlog.Tree{N: size, Hash: root}
	reader := tlog.TileHashReader(tree, tiles(folder))
	for number, entry := range sampled {
		proof, err := tlog.ProveRecord(size, number, reader)
		check(err)
		check(tlog.CheckRecord(proof, size, root, number, tlog.RecordHash(entry)))
	}
	for earlier, earlierRoot := range heads {
		if earlier == 0 {
			continue
		}
		proof, err := tlog.ProveTree(size, earlier, reader)
		check(err)
		check(tlog.CheckTree(proof, size, root, earlier, earlierRoot))
	}
}

// tiles reads the tiles of C2SP tlog-tiles, which x/mod knows under other names.
type tiles string

func (folder tiles) Height() int { return 8 }

func (folder tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (folder tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	contents := make([][]byte, len(wanted))
	for index, tile := range wanted {
		name := fmt.Sprintf("%03d", tile.N%1000)
		for rest := tile.N / 1000; rest > 0; rest /= 1000 {
			name = fmt.Sprintf("x%03d/%s", rest%1000, name)
		}
		path := filepath.Join(string(folder), "tile", fmt.Sprint(tile.L), name)
		if tile.W < 256 {
			path = fmt.Sprintf("%s.p/%d", path, tile.W)
		}
		content, err := os.ReadFile(path)
		if os.IsNotExist(err) && tile.W < 256 { // part of a tile that is whole by now
			content, err = os.ReadFile(filepath.Join(string(folder), "tile", fmt.Sprint(tile.L), name))
		}
		if err != nil {
			return nil, err
		}
		if len(content) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s is too short", path)
		}
		contents[index] = content[:tile.W*tlog.HashSize]
	}
	return contents, nil
}

func openHeads(folder string, verifiers note.Verifiers) map[int64]tlog.Hash {
	heads := map[int64]tlog.Hash{}
	paths, err := filepath.Glob(filepath.Join(folder, "*"))
	check(err)
	for _, path := range paths {
		head := openHead(path, verifiers)
		if known, found := heads[int64(head.Size)]; found && known != tlog.Hash(head.Hash) {
			fail("two heads of %d leaves have different roots", head.Size)
		}
		heads[int64(head.Size)] = tlog.Hash(head.Hash)
	}
	return heads
}

func openHead(path string, verifiers note.Verifiers) log.Checkpoint {
	content, err := os.ReadFile(path)
	check(err)
	opened, err := note.Open(content, verifiers)
	if err != nil {
		fail("%s: %v", path, err)
	}
	var head log.Checkpoint
	_, err = head.Unmarshal([]byte(opened.Text))
	check(err)
	if len(head.Hash) != tlog.HashSize {
		fail("%s: its root has %d bytes", path, len(head.Hash))
	}
	return head
}

func parseKeys(texts []string) note.Verifiers {
	var verifiers []note.Verifier
	for _, text := range texts {
		verifier, err := note.NewVerifier(text)
		check(err)
		verifiers = append(verifiers, verifier)
	}
	return note.VerifierList(verifiers...)
}

func check(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}
