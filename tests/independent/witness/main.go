// witness is a small C2SP tlog-witness for one log, its state in memory: proofs are checked by golang.org/x/mod, notes
// and cosignatures made by transparency-dev/formats.
//
//	witness VERIFIER-KEY-OF-THE-LOG
//
// It prints its own verifier key and its address, and serves until it is killed.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	checkpoint "github.com/transparency-dev/formats/log"
	cosigning "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const bodyBytesMax = 64 << 10

type witness struct {
	log    note.Verifier
	signer note.Signer

	mutex sync.Mutex
	size  int64
	root  tlog.Hash
}

func main() {
	verifier, err := note.NewVerifier(os.Args[1])
	check(err)
	secret, public, err := note.GenerateKey(rand.Reader, "witness.example")
	check(err)
	signer, err := cosigning.NewSignerForCosignatureV1(secret)
	check(err)
	told, err := cosigning.VKeyToCosignatureV1(public)
	check(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(told)
	fmt.Printf("http://%s\n", listener.Addr())
	served := &witness{log: verifier, signer: signer}
	http.HandleFunc("POST /add-checkpoint", served.addCheckpoint)
	check(http.Serve(listener, nil))
}

func (w *witness) addCheckpoint(answer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, bodyBytesMax))
	before, signed, found := strings.Cut(string(body), "\n\n")
	if err != nil || !found {
		http.Error(answer, "no checkpoint", http.StatusBadRequest)
		return
	}
	lines := strings.Split(before, "\n")
	var earlier int64
	if _, err := fmt.Sscanf(lines[0], "old %d", &earlier); err != nil {
		http.Error(answer, "no old size", http.StatusBadRequest)
		return
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		hash, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(hash) != tlog.HashSize {
			http.Error(answer, "no proof", http.StatusBadRequest)
			return
		}
		proof = append(proof, tlog.Hash(hash))
	}
	head, _, opened, err := checkpoint.ParseCheckpoint([]byte(signed), w.log.Name(), w.log)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusForbidden)
		return
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	size, root := int64(head.Size), tlog.Hash(head.Hash)
	if earlier != w.size || size < w.size || (size == w.size && size > 0 && root != w.root) {
		answer.Header().Set("Content-Type", "text/x.tlog.size")
		answer.WriteHeader(http.StatusConflict)
		fmt.Fprintf(answer, "%d\n", w.size)
		return
	}
	if w.size > 0 && size > w.size {
		if err := tlog.CheckTree(proof, size, root, w.size, w.root); err != nil {
			http.Error(answer, err.Error(), http.StatusUnprocessableEntity)
			return
		}
	}
	cosigned, err := note.Sign(&note.Note{Text: opened.Text}, w.signer)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusInternalServerError)
		return
	}
	w.size, w.root = size, root
	_, signatures, _ := bytes.Cut(cosigned, []byte("\n\n"))
	_, _ = answer.Write(signatures)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
