//go:build tools

package independent

import _ "github.com/transparency-dev/tessera/cmd/fsck"
