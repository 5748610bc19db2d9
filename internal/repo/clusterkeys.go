package repo

import "fmt"

// ClusterKey gives the key under which a cluster of controllers seals the private
// key of its own certificate authority; 0 means the newest generation. What is
// sealed lies in the cluster's replicated state, never in a store, so that nobody
// who has a copy of that state alone can issue certificates.
func (r *Repository) ClusterKey(generation uint32) ([keySize]byte, error) {
	if generation == 0 {
		generation = r.Generation
	}
	master, err := r.keys.master(generation)
	if err != nil {
		return [keySize]byte{}, fmt.Errorf("derive the key of the cluster's authority: %w", err)
	}
	return derive(master[:], "baktainer/1 cluster authority", nil), nil
}

// ReceiptKey gives the key with which controllers sign their receipts for objects
// that they have stored, so that any of them believes another's. It is that of
// the newest generation: whoever kept an earlier key cannot make receipts, and a
// controller that has not opened the newest yet believes none and looks for itself.
// Nothing that is made with it lies in a store.
func (r *Repository) ReceiptKey() ([keySize]byte, error) {
	master, err := r.keys.master(r.Generation)
	if err != nil {
		return [keySize]byte{}, fmt.Errorf("derive the key of receipts: %w", err)
	}
	return derive(master[:], "baktainer/1 receipts", nil), nil
}
