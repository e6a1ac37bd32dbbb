package rp

import (
	"net/http"
	"time"
)

// formTimeout is how long a form of the provider may take to arrive.
const formTimeout = 10 * time.Second

// ReadForm reads a form that the provider, or a browser for it, has sent. It is
// of at most limit bytes.
func ReadForm(w http.ResponseWriter, r *http.Request, limit int64) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(formTimeout)) // an error means that there is no connection
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	err := r.ParseForm()
	if err == nil {
		_ = control.SetReadDeadline(time.Time{})
	}
	return err
}
