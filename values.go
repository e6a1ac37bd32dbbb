package gatehouse

import (
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/alecthomas/kong"
)

// Numbers and durations are decoded here, since kong's own errors about them are
// Go's: they name a type or a unit, and not what to write.

func decodeNumber(ctx *kong.DecodeContext, target reflect.Value) error {
	text, err := scalar(ctx)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return fmt.Errorf("%q is not a whole number; write digits alone, such as 120", text)
	}
	target.SetInt(n)
	return nil
}

func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	text, err := scalar(ctx)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	switch _, noUnit := strconv.ParseFloat(text, 64); {
	case err != nil && noUnit == nil:
		return fmt.Errorf("%q has no unit; write %ss, %sm or %sh", text, text, text, text)
	case err != nil:
		return fmt.Errorf("%q is not a duration; write it like 90s, 15m or 24h", text)
	}
	target.SetInt(int64(d))
	return nil
}

func scalar(ctx *kong.DecodeContext) (string, error) {
	value, err := ctx.Scan.PopValue("value")
	if err != nil {
		return "", err
	}
	return fmt.Sprint(value.Value), nil
}
