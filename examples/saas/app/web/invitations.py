"""What an invitation's link opens."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.invitations import read_signed
from app.web.pages import page

router = APIRouter()


@router.get("/invitations/{token}")
async def open_invitation(request: Request, token: str) -> Response:
    """Check the signature. What follows is your sign-up."""
    is_valid = read_signed(token) is not None
    status = 200 if is_valid else 404
    return page(request, "invitation.html", {"is_valid": is_valid}, status=status)
