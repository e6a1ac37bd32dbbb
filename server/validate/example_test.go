package validate_test

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
	"github.com/gatehouse-dev/gatehouse/server/validate"
)

// The interceptor validates every request with Message before its method runs.
func ExampleMessage() {
	err := validate.Message(&sessionadminv1.EndSessionsRequest{}, "")
	show(err)
	// Output: InvalidArgument: subject: must be at least 1 characters
}

// A service reports what no rule of its .proto can express in the same form.
func ExampleField() {
	show(validate.Field("price.currency_code", "%q is not the currency of this shop; give EUR", "USD"))
	// Output: InvalidArgument: price.currency_code: "USD" is not the currency of this shop; give EUR
}

// show prints an error as a client sees it.
func show(err error) {
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				fmt.Printf("%v: %s: %s\n", st.Code(), v.GetField(), v.GetDescription())
			}
		}
	}
}
