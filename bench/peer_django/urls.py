"""The package's doors, and one that says that the server is up."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def alive(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("alive")


urlpatterns = [path("", alive), path("mpesa/", include("django_mpesa.urls"))]
