package fresh

import (
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
)

// Images lists what a throwaway container may be made from, best first: the image
// that was asked for, if one was, else the very image that a snapshot was taken
// from, then what its source runs now, then what is called the same. Those from
// the place other on are not the one asked for, or not the very one.
func Images(asked, image, digest string, now engine.Facts) (list []string, other int) {
	if asked != "" {
		return []string{asked}, 1
	}
	add := func(names ...string) {
		for _, n := range names {
			if n != "" && !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	add(exactly(image, digest)...)
	if other = len(list); digest == now.ImageDigest || digest == "" {
		// What the source runs is what it ran, as far as anybody knows.
		add(exactly(now.Image, now.ImageDigest)...)
		other = len(list)
	}
	add(exactly(now.Image, now.ImageDigest)...)
	add(image, now.Image)
	return list, other
}

// exactly names an image by its digest, which may be its id.
func exactly(image, digest string) []string {
	if digest == "" {
		return nil
	}
	name, _, _ := strings.Cut(image, "@")
	if slash, colon := strings.LastIndex(name, "/"), strings.LastIndex(name, ":"); colon > slash {
		name = name[:colon]
	}
	if name == "" || name == "sha256" { // its id is all that is known
		return []string{digest}
	}
	return []string{name + "@" + digest, digest}
}
